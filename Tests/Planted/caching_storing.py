"""Rules of RFC 9111 §2 and §3 that the cache no longer keeps: keys and storing."""

KEY = "Caching/Policy/CacheKey.swift"
REQUEST = "Caching/Policy/RequestPolicy.swift"
RESPONSE = "Caching/Policy/ResponsePolicy.swift"
HEAD = "Caching/Policy/StoredHead.swift"
FRESH = "Caching/Policy/Freshness.swift"
CONTROL = "Caching/Policy/CacheControl.swift"
VARY = "Caching/Policy/Vary.swift"
CONDITION = "Caching/Policy/ConditionalRequest.swift"
VOID = "Caching/Policy/Invalidation.swift"
STORE = "Caching/Store/CacheStore.swift"
FETCH = "Proxy/Cache/CacheFetch.swift"
ANSWER = "Proxy/Cache/StoredResponse.swift"

# Tests that hold many rules, each with a case of its own.
RESPONSE_WIRE = "follows what the response says of itself | "
STATUS_WIRE = "follows the status | "
REQUEST_WIRE = "follows the request | "
ROUTE_WIRE = "takes lifetimes of the route where it has them | "
DIRECTIVES_WIRE = "obeys the directives of requests where the route says so | "
FIELDS_WIRE = "keeps every field that is the client's, and none that is not | "
CONDITIONS_WIRE = "answers conditions of clients from what is stored | "
CONFIRM_WIRE = "sends its own validators upstream, never the client's | "
UNSAFE_WIRE = "is done by unsafe requests that succeed | "
NAMED_WIRE = "reaches what the answer names, of the same origin only | "
ERROR_WIRE = "stale-if-error serves on every way to fail, and only where it is said | "
URL = "is scheme, host, exact path and query"
CHOSEN = "of chosen fields and cookies differs wherever one of them does"
PASSES = "passes by where no stored response can answer it"
PLAIN = "is plain only where it is looked up without constraints"
STATUS = "is refused by status, whatever the lifetime"
KEPT = "keeps status, order and octets of what goes to the client"
LEFT_OUT = "leaves out what is not the client's, or made anew"
MERGED = "is updated by a 304 in everything but what describes the content"
GUESS = "is guessed only where the rule says so"
AGE = "is the greater of what the fields and the clock say"
WINDOWS = "ends each window exactly at its end"
STALE = "is the response's own, else the rule's, and never against a prohibition"
REFERENCE = "makes void what the answer names of the same origin"

KEYS = {
    "9111 §2: the scheme is no part of the key": {
        "edits": [(
            KEY, 'if isSecure { sink.append("https://") }',
            'if isSecure, !HERE { sink.append("https://") }')],
        "fails": [URL, "what a trusted proxy says of scheme and host tells resources apart"],
    },
    "9111 §2: the host is no part of the key": {
        "edits": [(
            KEY, "    sink.append(host)\n",
            '    if HERE { sink.append("example.com") } else { sink.append(host) }\n')],
        "fails": [URL, "forms of one host are one resource, of which the origin sees one form"
                       " | example.org"],
    },
    "9111 §2: a default port makes another resource": {
        "edits": [(
            KEY, "if port != 0, port != (isSecure ? 443 : 80) {",
            "if port != 0, HERE || port != (isSecure ? 443 : 80) {")],
        "fails": [URL + " | example.com:80",
                  "forms of one host are one resource, of which the origin sees one form"
                  " | EXAMPLE.com:80"],
    },
    "9111 §2: the path is no part of the key": {
        "edits": [(
            KEY, "      sink.append(head.path)\n",
            "      sink.append(HERE ? head.path.slice(0, 1) : head.path)\n")],
        "fails": [URL, "paths that differ in an octet are different, and go upstream as they are"],
    },
    "9111 §2: the query is no part of the key": {
        "edits": [(
            KEY, "if head.pathAndQueryRange.count > head.pathRange.count {",
            "if head.pathAndQueryRange.count > head.pathRange.count, !HERE {")],
        "fails": [URL + " | /a?x=1",
                  "paths that differ in an octet are different, and go upstream as they are"
                  " | /a/b?q"],
    },
    "9111 §2: chosen fields are no part of the key": {
        "edits": [(
            KEY, "        appendValue(head.value(found), to: &sink)\n",
            "        if !HERE { appendValue(head.value(found), to: &sink) }\n")],
        "fails": [CHOSEN + " | X-A: 2",
                  "takes a key of chosen parameters, fields and cookies | /more X-Kind: b"],
    },
    "9111 §2: chosen cookies are no part of the key": {
        "edits": [(
            KEY, "          appendValue(pair.value, to: &sink)\n",
            "          if !HERE { appendValue(pair.value, to: &sink) }\n")],
        "fails": [CHOSEN + " | Cookie: s=2",
                  "takes a key of chosen parameters, fields and cookies"
                  " | /more Cookie: plan=iron"],
    },
    "9111 §2: routes that take one URL by other conditions share a key": {
        "edits": [(
            KEY, "if rule.routeMark.count > 0 {", "if rule.routeMark.count > 0, !HERE {")],
        "fails": [CHOSEN, "routes that share a URL never answer for each other"],
    },
}

STORING = {
    "9111 §3: an answer to a method that nobody knows is stored": {
        "edits": [(
            REQUEST, "guard head.method == .get",
            "guard HERE && head.method == .other || head.method == .get")],
        "fails": [PASSES + " | QUERY", REQUEST_WIRE + "a method nobody knows: HTTP"],
    },
    "9111 §3 and §4: an answer to POST is stored, and POST answered from the store": {
        "edits": [(
            REQUEST, "|| head.method == .head else {",
            "|| head.method == .head || HERE && head.method == .post else {")],
        "fails": [PASSES + " | POST", REQUEST_WIRE + "POST: HTTP", UNSAFE_WIRE + "POST"],
    },
    "9111 §3: an interim response is stored": {
        "edits": [(
            RESPONSE, "case ..<200: return .status", "case ..<200 where !HERE: return .status")],
        "fails": [STATUS + " | 103"],
    },
    "9111 §3: 206 is stored": {
        "edits": [(
            RESPONSE, "case 206: return .partial", "case 206 where !HERE: return .partial"), (
            ANSWER, "dropping: fetchDrops,", "dropping: HERE ? FieldSet(.host) : fetchDrops,")],
        "fails": [STATUS + " | 206", STATUS_WIRE + "206: HTTP",
                  "ranges, conditions and HEAD leave nothing behind that is less than all"
                  " | GET Range: bytes=0-1"],
    },
    "9111 §3: 304 is stored": {
        "edits": [(
            RESPONSE, "case 304: return .notModified",
            "case 304 where !HERE: return .notModified"), (
            FETCH, "if responseHead.status == 304 {", "if responseHead.status == 304, !HERE {")],
        "fails": [STATUS + " | 304", "believes no 304 that is about something else | unasked"],
    },
    "9111 §3: what says no-store is stored": {
        "edits": [(
            RESPONSE, "} else if control.flags.contains(.noStore) {",
            "} else if control.flags.contains(.noStore), !HERE {")],
        "fails": ["is refused | no-store, max-age=60", RESPONSE_WIRE + "no-store: HTTP"],
    },
    "9111 §3: what is private is stored": {
        "edits": [(
            RESPONSE, "if control.flags.contains(.isPrivate) {",
            "if control.flags.contains(.isPrivate), !HERE {")],
        "fails": ["is refused | private, max-age=60", RESPONSE_WIRE + "private: HTTP",
                  "cookies, credentials and what is private reach nobody else, by no way"
                  " | /private"],
    },
    "9111 §3: what has no lifetime is given one": {
        "edits": [(
            RESPONSE, "if control.flags.contains(.noCache), mayGuess { return (0, false) }\n",
            "if control.flags.contains(.noCache), mayGuess { return (0, false) }\n"
            "    if HERE { return (60, false) }\n")],
        "fails": ["is refused | noLifetime", RESPONSE_WIRE + "no lifetime, no validator: HTTP",
                  ROUTE_WIRE + "without Last-Modified: HTTP"],
    },
    "9111 §3.1: fields that weir does not know are not stored": {
        "edits": [(
            HEAD, "return !isNominated(octets, head)",
            "return !HERE && !isNominated(octets, head)")],
        "fails": [KEPT, FIELDS_WIRE + "x-unknown"],
    },
    "9111 §3.1: what Connection names is stored": {
        "edits": [(
            HEAD, "if member.equalsIgnoringCase(name) { return true }",
            "if member.equalsIgnoringCase(name), !HERE { return true }")],
        "fails": [LEFT_OUT + " | X-Hop", FIELDS_WIRE + "x-hop"],
    },
    "9111 §3.1: fields of one connection are stored": {
        "edits": [(
            HEAD, "if neverKept.contains(name) {",
            "if neverKept.contains(name), !(HERE && FieldSet.hopByHop.contains(name)) {")],
        "fails": [LEFT_OUT + " | Keep-Alive", FIELDS_WIRE + "keep-alive"],
    },
    "9111 §3.1: Proxy-Authenticate and Proxy-Authorization are stored": {
        "edits": [(
            HEAD, "FieldSet(.age, .contentLength, .proxyAuthenticate, .proxyAuthorization))",
            "HERE ? FieldSet(.age, .contentLength)\n"
            "      : FieldSet(.age, .contentLength, .proxyAuthenticate, .proxyAuthorization))")],
        "fails": [LEFT_OUT + " | Proxy-Authenticate", LEFT_OUT + " | Proxy-Authorization",
                  FIELDS_WIRE + "proxy-authenticate", FIELDS_WIRE + "proxy-authorization"],
    },
    "9111 §3.1: Proxy-Authentication-Info is stored": {
        "edits": [(
            HEAD, 'if octets.equalsLowercased("proxy-authentication-info") {',
            'if octets.equalsLowercased("proxy-authentication-info"), !HERE {')],
        "fails": [LEFT_OUT + " | Proxy-Authentication-Info",
                  FIELDS_WIRE + "proxy-authentication-info"],
    },
    "9111 §3.2: a 304 updates no field": {
        "edits": [(
            HEAD, "return isKept(index, of: head, rule)",
            "return !HERE && isKept(index, of: head, rule)")],
        "fails": [MERGED, CONFIRM_WIRE + "x-new"],
    },
    "9111 §3.2: a 304 updates Content-Encoding": {
        "edits": [(
            HEAD, "case .contentEncoding: return false", "case .contentEncoding: return HERE")],
        "fails": [MERGED + " | Content-Encoding", CONFIRM_WIRE + "content-encoding"],
    },
    "9111 §3.2: a 304 updates Content-Range": {
        "edits": [(
            HEAD, 'if octets.equalsLowercased("content-range") { return false }',
            'if octets.equalsLowercased("content-range") { return HERE }')],
        "fails": [MERGED + " | Content-Range", CONFIRM_WIRE + "content-range"],
    },
    "9111 §3.2: a 304 updates Content-Length": {
        "edits": [(
            HEAD, "for index in 0..<head.fields.count where isUpdate(index, of: head, rule) {",
            "for index in 0..<head.fields.count\n"
            "    where isUpdate(index, of: head, rule)\n"
            "      || HERE && head.fields[index].name == .contentLength {")],
        "fails": [MERGED + " | Content-Length", CONFIRM_WIRE.removesuffix(" | ")],
    },
    "9111 §3.3: what ends early is stored as if it were all": {
        "edits": [(
            STORE, "_ failure: UInt32) -> [FillWaiter] {\n",
            "_ failure: UInt32) -> [FillWaiter] {\n"
            "    if HERE, let object = fill.finishContent() {\n"
            "      return settle(fill, object, .complete, now: .zero)\n    }\n")],
        "fails": ["what ends early is not stored", "a response that ends early is nobody's",
                  "a fetch that fails answers all who wait, at once | cuts the content"],
    },
    "9111 §3.5: an answer to Authorization is stored without leave": {
        "edits": [(
            RESPONSE, "if request.hasAuthorization, control.sMaxAge == nil,",
            "if request.hasAuthorization, !HERE, control.sMaxAge == nil,")],
        "fails": ["of an answer to Authorization needs the response's word | max-age=60",
                  REQUEST_WIRE + "Authorization: HTTP"],
    },
    "9111 §5.2.1.5: an answer to a request with no-store is stored": {
        "edits": [(
            RESPONSE, "if request.noStore {", "if request.noStore, !HERE {"), (
            STORE, "query.constraints.noStore ||", "query.constraints.noStore && !HERE ||")],
        "fails": ["is refused where the request forbids it",
                  REQUEST_WIRE + "no-store of the request: HTTP"],
    },
    "9111 §5.2.2.3: must-understand with a status that is not known is stored": {
        "edits": [(
            RESPONSE, "if !understands { return .status }",
            "if !understands, !HERE { return .status }")],
        "fails": ["with must-understand depends on the status alone",
                  STATUS_WIRE + "must-understand, unknown: HTTP"],
    },
    "9111 §5.2.2.3: must-understand with a known status does not take no-store back": {
        "edits": [(
            RESPONSE, "if control.flags.contains(.mustUnderstand) {",
            "if control.flags.contains(.mustUnderstand), !(HERE && understands) {")],
        "fails": ["with must-understand depends on the status alone",
                  STATUS_WIRE + "must-understand, known: HTTP"],
    },
    "9111 §7.3: what sets a cookie is stored, told or not": {
        "edits": [(
            RESPONSE, "if head.fields.contains(.setCookie),",
            "if head.fields.contains(.setCookie), !HERE,")],
        "fails": ["of a cookie is done only where the rule says so",
                  RESPONSE_WIRE + "Set-Cookie: HTTP"],
    },
    "9111 §7.3: what sets a cookie is not stored although the route says so": {
        "edits": [(
            RESPONSE, "!rule.storesSetCookie { return .setCookie }",
            "!rule.storesSetCookie || HERE { return .setCookie }")],
        "fails": ["of a cookie is done only where the rule says so",
                  ROUTE_WIRE + "store-set-cookie: HTTP"],
    },
}

RULES = {**KEYS, **STORING}
