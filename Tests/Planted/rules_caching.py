"""Rules of the cache, of docs/CACHING.md, that it no longer keeps: all of the lists together."""

import caching_fields
import caching_storing
import caching_use

RULES = {**caching_storing.RULES, **caching_use.RULES, **caching_fields.RULES}

# Rows that no test on the wire, or none of a value, can show, and why.
CANNOT = {
    "9111 §3: an interim response, on the wire":
        "an interim response is passed on or dropped before the cache looks at any head",
    "9111 §1.2.2: an age that overflows, on the wire": "it takes 292 years of residence",
    "9111 §4: the Age field itself, by a value": "it is written where the answer is, in the proxy",
    "9211 §2.3: what only a forwarded request has, on the wire":
        "a hit's status is made without any of it; that it is said where it belongs, is tested",
    "5861 §4: 500, 502, 503 and 504, by a value": "the proxy looks at the status of an answer",
    "9110 §14: what a fetch asks for, by a value": "the request is written in the proxy",
}
