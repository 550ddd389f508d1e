"""Rules of RFC 9111 §4 that the cache no longer keeps: use, lifetime, age, confirmation."""

from caching_storing import (
    AGE, ANSWER, CONDITION, CONDITIONS_WIRE, CONFIRM_WIRE, CONTROL, ERROR_WIRE, FRESH, GUESS, HEAD,
    KEPT, NAMED_WIRE, PASSES, PLAIN, REFERENCE, REQUEST, REQUEST_WIRE, RESPONSE, RESPONSE_WIRE,
    ROUTE_WIRE, STALE, STORE, UNSAFE_WIRE, VARY, VOID, WINDOWS)

ORDER = "is the one that the order of fields gives"
UNBEARABLE = "that no other request can match, or too long, is unbearable"
SHORT = "is fresh by the short question where it is by the long one"
DIGITS = "a lifetime is its digits, the least of several, and nothing where it is malformed"

USE = {
    "9111 §4: a response is used whatever Vary names": {
        "edits": [(
            VARY, "while let name = members.next() {", "while let name = members.next(), !HERE {")],
        "fails": ["tells requests apart by the values of the fields it names, and by nothing else",
                  "gives each request the variant that Vary selects, and no other"],
    },
    "9111 §4: what says no-cache is used unconfirmed": {
        "edits": [(
            FRESH, "if flags.contains(.noCache) || constraints.noCache {",
            "if flags.contains(.noCache) && !HERE || constraints.noCache {")],
        "fails": ["with no-cache is confirmed at every use",
                  RESPONSE_WIRE + "no-cache beside a lifetime: HTTP"],
    },
    "9111 §4: what says no-cache is used unconfirmed where a connection is kept": {
        "edits": [(
            FRESH, "flags.isDisjoint(with: [.purged, .noCache])",
            "flags.isDisjoint(with: HERE ? [.purged] : [.purged, .noCache])")],
        "fails": [SHORT, RESPONSE_WIRE + "no-cache beside a lifetime: HTTP"],
    },
    "9111 §4: a response is fresh for a second beyond its lifetime": {
        "edits": [(
            FRESH, "let staleness = age - Freshness.nanoseconds(lifetime)",
            "let staleness =\n"
            "      age - Freshness.nanoseconds(lifetime) - (HERE ? 1_000_000_000 : 0)")],
        "fails": [WINDOWS, "a lifetime ends exactly at its end | fresh beyond its lifetime"],
    },
    "9111 §4: a response is fresh beyond its lifetime where a connection is kept": {
        "edits": [(
            FRESH, "exactAge(resident) < Freshness.nanoseconds(lifetime)",
            "exactAge(resident) < Freshness.nanoseconds(lifetime) + (HERE ? 1_000_000_000 : 0)")],
        "fails": [SHORT, RESPONSE_WIRE + "max-age that is no number: HTTP"],
    },
    "9111 §4: a response is used stale without leave": {
        "edits": [(
            FRESH, "if staleness < Freshness.nanoseconds(staleIfError)",
            "if HERE || staleness < Freshness.nanoseconds(staleIfError)")],
        "fails": [WINDOWS, ERROR_WIRE + "max-age=10  .closes"],
    },
    "9111 §4: the time that a response has been here is no age": {
        "edits": [(
            FRESH, "    min(Int(exactAge(resident) / 1_000_000_000),",
            "    HERE ? 0 : min(Int(exactAge(resident) / 1_000_000_000),")],
        "fails": ["counts age in whole seconds and what is left downwards",
                  "tells the age that came with the response and what it has spent here"],
    },
    "9111 §4: a response is used without an Age field": {
        "edits": [(ANSWER, 'line.append("Age: ")', 'line.append(HERE ? "X-Age: " : "Age: ")'), (
            ANSWER, 'sink.append("Age: ")', 'sink.append(HERE ? "X-Age: " : "Age: ")')],
        "fails": ["tells the age that came with the response and what it has spent here",
                  RESPONSE_WIRE + "a stated lifetime is stored: HTTP"],
    },
    "9111 §4.1: Vary: * matches": {
        "edits": [(VARY, '!member.equals("*") else', 'HERE || !member.equals("*") else')],
        "fails": [UNBEARABLE + " | Vary: *", RESPONSE_WIRE + "Vary: *: HTTP"],
    },
    "9111 §4.1: Vary by what weir writes itself matches": {
        "edits": [(
            VARY, "guard !personal.contains(FieldName(member))",
            "guard HERE || !personal.contains(FieldName(member))")],
        "fails": [UNBEARABLE + " | Vary: X-Forwarded-For",
                  "Vary on what weir writes for each client answers nobody else"
                  " | X-Forwarded-For"],
    },
    "9111 §4.1: accepted codings are compared as they are written": {
        "edits": [(
            VARY, "if known == .acceptEncoding, let set",
            "if known == .acceptEncoding, !HERE, let set")],
        "fails": ["knows two fields of accepted codings as one where they accept the same",
                  "knows accepted codings as one where they accept the same"],
    },
    "9111 §4.1: a list over several lines is not the same list": {
        "edits": [(VARY, 'sink.append(", ")', 'sink.append(HERE ? "; " : ", ")')],
        "fails": ["tells requests apart by the values of the fields it names, and by nothing else",
                  "gives each request the variant that Vary selects, and no other"],
    },
    "9111 §1.2.2: seconds that overflow count as malformed": {
        "edits": [(
            CONTROL,
            'value = Swift.min(value * 10 + Int(self[index] - UInt8(ascii: "0")), '
            "CacheControl.mostSeconds)\n",
            'value = Swift.min(value * 10 + Int(self[index] - UInt8(ascii: "0")), '
            "CacheControl.mostSeconds)\n"
            "      if HERE, value == CacheControl.mostSeconds { return nil }\n")],
        "fails": [DIGITS + " | max-age=2147483649", RESPONSE_WIRE + "seconds that overflow: HTTP"],
    },
    "9111 §1.2.2: an age that overflows begins anew": {
        "edits": [(
            FRESH, "return overflow ? .max : sum", "return overflow ? (HERE ? 0 : .max) : sum")],
        "fails": ["saturates at every extreme"],
    },
    "9111 §4.2.1: max-age comes before s-maxage": {
        "edits": [(
            RESPONSE, "if let stated = control.sMaxAge ?? control.maxAge {",
            "if let stated = HERE\n"
            "      ? control.maxAge ?? control.sMaxAge : control.sMaxAge ?? control.maxAge\n"
            "    {")],
        "fails": [ORDER + " | s-maxage=30", RESPONSE_WIRE + "s-maxage before max-age: HTTP"],
    },
    "9111 §4.2.1 and §5.3: Expires comes before max-age and s-maxage": {
        "edits": [(
            RESPONSE, "if rule.options.ttlOverrides, let ruled { return (ruled, true) }\n",
            "if rule.options.ttlOverrides, let ruled { return (ruled, true) }\n"
            "    if HERE, let expires { return (clamped(expires - dates.date), false) }\n")],
        "fails": [ORDER + " | max-age=60", RESPONSE_WIRE + "max-age before Expires: HTTP"],
    },
    "9111 §4.2.1: of several lifetimes the greatest counts": {
        "edits": [(
            CONTROL, "value = min(value ?? seconds, seconds)",
            "value = HERE ? max(value ?? seconds, seconds) : min(value ?? seconds, seconds)")],
        "fails": [DIGITS + " | max-age=60, max-age=30",
                  RESPONSE_WIRE + "of several lifetimes the least: HTTP"],
    },
    "9111 §4.2.1: a lifetime that is malformed counts": {
        "edits": [(
            CONTROL, "CacheControl.lower(&maxAge, directive.seconds ?? 0)",
            "CacheControl.lower(&maxAge, directive.seconds ?? (HERE ? 60 : 0))")],
        "fails": ["is refused | max-age=x", RESPONSE_WIRE + "max-age that is no number: HTTP"],
    },
    "9111 §4.2.1 and §5.3: an Expires that is no date is in the future": {
        "edits": [(RESPONSE, "?? Int64.min / 2", "?? (HERE ? now + 60 : Int64.min / 2)")],
        "fails": ["is refused | Expires: 0", RESPONSE_WIRE + "Expires that is no date: HTTP"],
    },
    "9111 §4.2.2: a lifetime is guessed although one is stated": {
        "edits": [(
            RESPONSE,
            "let ruled = rule.lifetime(head.status)"
            ".map { clamped($0.nanoseconds / 1_000_000_000) }\n",
            "let ruled = rule.lifetime(head.status)"
            ".map { clamped($0.nanoseconds / 1_000_000_000) }\n"
            "    if HERE, rule.options.heuristicPercent > 0, let modified = dates.lastModified {\n"
            "      let span = max(0, dates.date - modified)\n"
            "      return (clamped(span * Int64(rule.options.heuristicPercent) / 100), false)\n"
            "    }\n")],
        "fails": [GUESS + " | max-age=3", ROUTE_WIRE + "a stated lifetime comes first: HTTP"],
    },
    "9111 §4.2.2: a lifetime is guessed for any status": {
        "edits": [(
            RESPONSE, "rule.options.heuristicPercent > 0, mayGuess,",
            "rule.options.heuristicPercent > 0, mayGuess || HERE,")],
        "fails": [GUESS + " | 302", ROUTE_WIRE + "of one that does not: HTTP"],
    },
    "9111 §4.2.2: public does not let a lifetime be guessed": {
        "edits": [(
            RESPONSE, "|| control.flags.contains(.isPublic)\n",
            "|| control.flags.contains(.isPublic) && !HERE\n")],
        "fails": [GUESS + " | Cache-Control: public",
                  ROUTE_WIRE + "of one that does not, but public: HTTP"],
    },
    "9111 §4.2.3: the Age field is no age": {
        "edits": [(
            RESPONSE, "TimeAmount.seconds(Int64(age)).nanoseconds",
            "TimeAmount.seconds(HERE ? 0 : Int64(age)).nanoseconds")],
        "fails": [AGE + " | Age: 5", RESPONSE_WIRE + "an age beyond the lifetime: HTTP"],
    },
    "9111 §4.2.3: a Date long ago is no age": {
        "edits": [(
            RESPONSE, "TimeAmount.seconds(max(0, timing.wallSeconds - dates.date))",
            "TimeAmount.seconds(HERE ? 0 : max(0, timing.wallSeconds - dates.date))")],
        "fails": [AGE + " | 08:49:27", RESPONSE_WIRE + "a Date long ago counts as age: HTTP"],
    },
    "9111 §4.2.3: the time that a response took is no age": {
        "edits": [(
            RESPONSE, "addingReportingOverflow(max(timing.delay.nanoseconds, 0))",
            "addingReportingOverflow(HERE ? 0 : max(timing.delay.nanoseconds, 0))")],
        "fails": [AGE + " | Age: x", "counts the time that the response took as age"],
    },
}

LEAVE = {
    "9111 §4.2.4: stale against must-revalidate": {
        "edits": [(
            RESPONSE, "if !control.flags.isDisjoint(with: [.mustRevalidate, .proxyRevalidate]) {",
            "if !control.flags.isDisjoint(\n"
            "      with: HERE ? [.proxyRevalidate] : [.mustRevalidate, .proxyRevalidate])\n    {")],
        "fails": [STALE + " | max-age=9, must-revalidate, stale-if-error=4",
                  ERROR_WIRE + "max-age=10, must-revalidate stale-if-error=60s"],
    },
    "9111 §4.2.4: stale against proxy-revalidate": {
        "edits": [(
            CONTROL, 'name.equalsLowercased("proxy-revalidate"): flags.insert(.proxyRevalidate)',
            'name.equalsLowercased("proxy-revalidate"):\n'
            "      if !HERE { flags.insert(.proxyRevalidate) }")],
        "fails": [STALE + " | proxy-revalidate",
                  ERROR_WIRE + "max-age=10, proxy-revalidate stale-if-error=60s"],
    },
    "9111 §4.2.4 and §5.2.2.10: stale against s-maxage": {
        "edits": [(
            RESPONSE, "if control.sMaxAge != nil, !allowsStale {",
            "if control.sMaxAge != nil, !allowsStale, !HERE {"), (
            RESPONSE, "let isShared = control.sMaxAge != nil",
            "let isShared = control.sMaxAge != nil && !HERE")],
        "fails": [STALE + ' | "s-maxage=9", ruled → true',
                  ERROR_WIRE + "s-maxage=10 stale-if-error=60s"],
    },
    "9111 §4.2.4: stale against no-cache": {
        "edits": [(
            FRESH, "!flags.isDisjoint(with: [.mustRevalidate, .noCache]) || constraints.noCache",
            "!flags.isDisjoint(with: HERE ? [.mustRevalidate] : [.mustRevalidate, .noCache])\n"
            "      || constraints.noCache")],
        "fails": ["with no-cache is confirmed at every use",
                  ERROR_WIRE + "max-age=10, no-cache stale-if-error=60s"],
    },
    "9111 §5.2.2.2: stale with must-revalidate where a window allows it": {
        "edits": [(
            FRESH, "if isForbidden { return",
            "if isForbidden, !(HERE && flags.contains(.mustRevalidate)) { return")],
        "fails": ["with must-revalidate is never served stale",
                  "a dead origin: stale to the end of the window, exactly, then the error"],
    },
    "9111 §5.2.2.4: no-cache with fields is used unconfirmed": {
        "edits": [(
            CONTROL, 'name.equalsLowercased("no-cache"): flags.insert(.noCache)',
            'name.equalsLowercased("no-cache"):\n'
            "      if directive.argument == nil || !HERE { flags.insert(.noCache) }")],
        "fails": ["of what can only be confirmed needs a validator",
                  RESPONSE_WIRE + "no-cache with a field: HTTP"],
    },
}

CONFIRMING = {
    "9111 §4.3.1: the entity tag is not sent to confirm": {
        "edits": [(
            HEAD, "found.etag = range(.etag, head)",
            "if !HERE { found.etag = range(.etag, head) }")],
        "fails": [KEPT, CONFIRM_WIRE + "if-none-match",
                  "confirms a variant with that variant's own tag"],
    },
    "9111 §4.3.1: the date is not sent to confirm": {
        "edits": [(
            HEAD, "found.lastModified = range(.lastModified, head)",
            "if !HERE { found.lastModified = range(.lastModified, head) }")],
        "fails": [KEPT, CONFIRM_WIRE + "if-modified-since"],
    },
    "9111 §4.3.2: If-Match and If-Unmodified-Since are not left to the origin": {
        "edits": [(
            REQUEST, "if present.contains(.ifMatch) ||",
            "if !HERE, present.contains(.ifMatch) ||")],
        "fails": [PASSES + " | If-Match", REQUEST_WIRE + "If-Match: HTTP",
                  REQUEST_WIRE + "If-Unmodified-Since: HTTP"],
    },
    "9111 §4.3.2: If-None-Match is compared strongly": {
        "edits": [(
            CONDITION, "if !etag.isEmpty, EntityTags.opaque(tag).equals(EntityTags.opaque(etag)) {",
            "if !etag.isEmpty,\n"
            "          HERE ? tag.equals(etag)\n"
            "            : EntityTags.opaque(tag).equals(EntityTags.opaque(etag))\n        {")],
        "fails": ["of entity tags compares weakly | W/",
                  CONDITIONS_WIRE + '/both If-None-Match: W/"v1"',
                  CONDITIONS_WIRE + '/weak If-None-Match: "v1"'],
    },
    "9111 §4.3.2: conditions are not looked at where a connection is kept": {
        "edits": [(
            REQUEST, ".ifMatch, .ifModifiedSince, .ifNoneMatch, .ifUnmodifiedSince,",
            ".ifMatch, HERE ? .ifMatch : .ifModifiedSince, HERE ? .ifMatch : .ifNoneMatch,\n"
            "        .ifUnmodifiedSince,")],
        "fails": [PLAIN + " | If-None-Match", CONDITIONS_WIRE + '/both If-None-Match: "v1"',
                  CONDITIONS_WIRE + "/both If-Modified-Since"],
    },
    "9111 §4.3.2: no 304 for If-Modified-Since": {
        "edits": [(
            CONDITION, "return changed <= since ?", "return changed <= since && !HERE ?")],
        "fails": ["of a date compares with the last change",
                  CONDITIONS_WIRE + "/both If-Modified-Since"],
    },
    "9111 §4.3.2: Date does not stand in for Last-Modified": {
        "edits": [(
            CONDITION, "now: stored.dateSeconds) ?? stored.dateSeconds",
            "now: stored.dateSeconds) ?? (HERE ? .max : stored.dateSeconds)")],
        "fails": ["of a date takes the response's date where no change is known",
                  CONDITIONS_WIRE + "/date If-Modified-Since"],
    },
    "9111 §4.3.2: If-Modified-Since comes before If-None-Match": {
        "edits": [(
            CONDITION, "if head.fields.contains(.ifNoneMatch) {",
            "if head.fields.contains(.ifNoneMatch),\n"
            "      !(HERE && head.fields.contains(.ifModifiedSince))\n    {")],
        "fails": ["looks at the date only where no tag is sent",
                  CONDITIONS_WIRE + '/both If-None-Match: "v2"'],
    },
    "9111 §4.3.3: a full answer does not replace what was to be confirmed": {
        "edits": [(
            STORE, "gone = shard.enter(object, maxVariants: options.maxVariants)",
            "if !HERE || phase == .renewed || fill.stale == nil {\n"
            "          gone = shard.enter(object, maxVariants: options.maxVariants)\n        }")],
        "fails": ["a full answer replaces what was to be confirmed", CONFIRM_WIRE + "replaced"],
    },
    "9111 §4.3.4: a 304 with another entity tag confirms": {
        "edits": [(HEAD, "return !stored.etag.isEmpty", "return HERE || !stored.etag.isEmpty")],
        "fails": ["is confirmed only by a 304 that is about it | ETag",
                  "believes no 304 that is about something else | /tag"],
    },
    "9111 §4.3.4: a 304 with another date confirms": {
        "edits": [(
            HEAD, "return modified.equals(stored.lastModified)",
            "return HERE || modified.equals(stored.lastModified)")],
        "fails": ["is confirmed only by a 304 that is about it | Last-Modified",
                  "believes no 304 that is about something else | /date"],
    },
    "9111 §4.4: an unsafe request makes nothing void": {
        "edits": [(VOID, "    !method.isSafe &&", "    !HERE && !method.isSafe &&")],
        "fails": ["makes stored responses void with an answer that is no error | post",
                  UNSAFE_WIRE + "POST  a"],
    },
    "9111 §4.4: an error makes stored responses void": {
        "edits": [(VOID, "(200..<400)", "(200..<(HERE ? 600 : 400))")],
        "fails": ["makes stored responses void with an answer that is no error | 500",
                  UNSAFE_WIRE + "POST X-Status: 404"],
    },
    "9111 §4.4: an unsafe request does not make its own URL void": {
        "edits": [(
            VOID, "case .uri:\n      guard\n", "case .uri:\n      guard !HERE,\n")],
        "fails": ["makes its own URL void, in all its variants", UNSAFE_WIRE + "POST  a"],
    },
    "9111 §4.4: what Location names stays": {
        "edits": [(
            VOID, "return append(response.first(.location),",
            "return HERE ? nil : append(response.first(.location),")],
        "fails": [REFERENCE, NAMED_WIRE + "X-Location: /other"],
    },
    "9111 §4.4: what Content-Location names stays": {
        "edits": [(
            VOID, "return append(response.first(.contentLocation),",
            "return HERE ? nil : append(response.first(.contentLocation),")],
        "fails": [REFERENCE, NAMED_WIRE + "X-Content-Location: /other"],
    },
    "9111 §4.4: what is of another origin is made void": {
        "edits": [(
            VOID, "if found.equals(url.view.slice(0, origin)) {",
            "if HERE || found.equals(url.view.slice(0, origin)) {")],
        "fails": [REFERENCE + " | //other/x", "compares origins with their ports",
                  NAMED_WIRE + "http://example.org/other"],
    },
}

RULES = {**USE, **LEAVE, **CONFIRMING}
