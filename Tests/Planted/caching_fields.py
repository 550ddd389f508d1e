"""Rules of RFC 9111 §5, 5861, 8246, 9211, 9213 and of ranges that the cache no longer keeps."""

from caching_storing import (
    AGE, CONDITION, CONTROL, DIRECTIVES_WIRE, ERROR_WIRE, FETCH, FIELDS_WIRE, FRESH, HEAD, KEPT,
    PLAIN, REQUEST, REQUEST_WIRE, RESPONSE, RESPONSE_WIRE, STORE, WINDOWS)

STATUS = "Caching/Policy/CacheStatusField.swift"
TARGETED = "Caching/Policy/TargetedCacheControl.swift"
DICTIONARY = "Caching/Policy/StructuredDictionary.swift"
RANGES = "Caching/Policy/ByteRanges.swift"
ANSWER = "Proxy/Cache/StoredResponse.swift"

OBEYED = "is obeyed in only-if-cached and no-store, in the others where the rule trusts it"
WORDS = "tells hits and what was forwarded in the words of RFC 9211"
TARGETED_WIRE = "takes the first targeted field that is valid and nothing beside it | "
ORDER = "is the one that the order of fields gives | "
BEHIND = "stale-while-revalidate asks once behind the back of all"
IGNORED = "that is malformed, overlaps or asks for too much is ignored | "
RANGES_WIRE = "that say nothing useful get everything, or 416"

FIELDS = {
    "9111 §5.1: of several ages the last counts": {
        "edits": [(
            RESPONSE, 'let end = value.firstIndex(of: UInt8(ascii: ",")) ?? value.count\n',
            'let end = value.firstIndex(of: UInt8(ascii: ",")) ?? value.count\n'
            "    if HERE, end < value.count {\n"
            "      return value.slice(from: end + 1).trimmed().deltaSeconds ?? 0\n    }\n")],
        "fails": [AGE + " | Age: 5, 9", RESPONSE_WIRE + "of several ages the first: HTTP"],
    },
    "9111 §5.1: an age that is malformed counts": {
        "edits": [(
            RESPONSE, "value.slice(0, end).trimmed().deltaSeconds ?? 0",
            "value.slice(0, end).trimmed().deltaSeconds ?? (HERE ? 99 : 0)")],
        "fails": [AGE + " | Age: x", RESPONSE_WIRE + "an age that is no number: HTTP"],
    },
    "9111 §5.2: only the first line of Cache-Control is read": {
        "edits": [(
            CONTROL, "var members = Directives(value)",
            "if HERE, self != CacheControl() { return }\n    var members = Directives(value)")],
        "fails": ["means the same on one line and split at any comma over several",
                  "is refused | NO-STORE",
                  RESPONSE_WIRE + "no-store in another line and case: HTTP"],
    },
    "9111 §5.2: no-store is read in small letters only": {
        "edits": [(
            CONTROL, 'case 8 where name.equalsLowercased("no-store"):',
            'case 8 where (HERE ? name.equals("no-store") : name.equalsLowercased("no-store")):')],
        "fails": ["flags are found in any case and dress | No-Store",
                  RESPONSE_WIRE + "no-store in another line and case: HTTP"],
    },
    "9111 §5.2: arguments in quotes are not read": {
        "edits": [(
            CONTROL, 'if start < value.count, value[start] == UInt8(ascii: "\\""),',
            'if !HERE, start < value.count, value[start] == UInt8(ascii: "\\""),')],
        "fails": ["flags are found in any case and dress",
                  RESPONSE_WIRE + "a lifetime in quotes: HTTP",
                  RESPONSE_WIRE + "a quoted comma splits nothing: HTTP"],
    },
    "9111 §5.2: Cache-Control is not passed on": {
        "edits": [(
            HEAD, "    case .setCookie: return rule.storesSetCookie\n",
            "    case .cacheControl where HERE: return false\n"
            "    case .setCookie: return rule.storesSetCookie\n")],
        "fails": [KEPT, FIELDS_WIRE + "cache-control"],
    },
    "9111 §5.2.1.1: max-age of a request is not obeyed": {
        "edits": [(
            FRESH,
            "      if let most = constraints.maxAge, age > Freshness.nanoseconds(most) {\n"
            "        return .mustRevalidate\n",
            "      if !HERE, let most = constraints.maxAge, age > Freshness.nanoseconds(most) {\n"
            "        return .mustRevalidate\n")],
        "fails": ["obeys the age that a request allows",
                  DIRECTIVES_WIRE + "max-age below the age: HTTP"],
    },
    "9111 §5.2.1.2: max-stale of a request is not obeyed": {
        "edits": [(
            FRESH, "if !flags.contains(.purged), let most = constraints.maxStale,",
            "if !HERE, !flags.contains(.purged), let most = constraints.maxStale,")],
        "fails": ["obeys the staleness that a request bears, unless the response forbids it",
                  DIRECTIVES_WIRE + "max-stale beyond the staleness: HTTP"],
    },
    "9111 §5.2.1.3: min-fresh of a request is not obeyed": {
        "edits": [(
            FRESH, "if let least = constraints.minFresh,",
            "if !HERE, let least = constraints.minFresh,")],
        "fails": ["obeys the remaining lifetime that a request wants",
                  DIRECTIVES_WIRE + "min-fresh beyond what is left: HTTP"],
    },
    "9111 §5.2.1.4: no-cache of a request is not obeyed": {
        "edits": [(
            REQUEST, "constraints.noCache = control.flags.contains(.noCache)",
            "constraints.noCache = control.flags.contains(.noCache) && !HERE")],
        "fails": [OBEYED, DIRECTIVES_WIRE + "no-cache: HTTP"],
    },
    "9111 §5.2.1: directives of requests are obeyed where the route does not ask": {
        "edits": [(
            REQUEST, "if rule.obeysRequestDirectives {",
            "if rule.obeysRequestDirectives || HERE {")],
        "fails": [OBEYED, REQUEST_WIRE + "no-cache of strangers is not obeyed: HTTP",
                  REQUEST_WIRE + "max-age of strangers: HTTP"],
    },
    "9111 §5.2.1: directives of requests are not obeyed where a connection is kept": {
        "edits": [(
            REQUEST, ".authorization, .cacheControl, .expect,",
            ".authorization, HERE ? .authorization : .cacheControl, .expect,")],
        "fails": [PLAIN + " | Cache-Control", DIRECTIVES_WIRE + "no-cache: HTTP"],
    },
    "9111 §5.2.1.7: only-if-cached is not obeyed": {
        "edits": [(
            REQUEST, "constraints.onlyIfCached = control.flags.contains(.onlyIfCached)",
            "constraints.onlyIfCached = control.flags.contains(.onlyIfCached) && !HERE")],
        "fails": [OBEYED, REQUEST_WIRE + "only-if-cached, and it is not: HTTP"],
    },
    "9111 §5.4: Pragma of a request is obeyed": {
        "edits": [(
            REQUEST, "constraints.hasAuthorization = present.contains(.authorization)\n",
            "constraints.hasAuthorization = present.contains(.authorization)\n"
            '    let pragma = ByteView("pragma")\n'
            "    if HERE, head.fields.firstIndex(named: pragma, in: head.bytes) != nil {\n"
            "      constraints.noCache = true\n    }\n"), (
            REQUEST, "head.method == .get && head.framing == .none && !head.host.isEmpty",
            "!HERE && head.method == .get && head.framing == .none && !head.host.isEmpty")],
        "fails": [OBEYED, REQUEST_WIRE + "Pragma of a request: HTTP"],
    },
    "9111 §5.4: Pragma of a response is obeyed": {
        "edits": [(
            RESPONSE, "    return (CacheControl(head.fields, head.bytes), true)\n",
            "    var control = CacheControl(head.fields, head.bytes)\n"
            '    let pragma = ByteView("pragma")\n'
            "    if HERE, head.fields.firstIndex(named: pragma, in: head.bytes) != nil {\n"
            "      control.flags.insert(.noCache)\n    }\n    return (control, true)\n")],
        "fails": ["is refused | Pragma: no-cache", RESPONSE_WIRE + "Pragma means nothing: HTTP"],
    },
}

STALE = {
    "5861 §3: a stale response is not served within stale-while-revalidate": {
        "edits": [(
            FRESH, "if staleness < Freshness.nanoseconds(staleWhileRevalidate) {",
            "if staleness < Freshness.nanoseconds(staleWhileRevalidate), !HERE {")],
        "fails": [WINDOWS, "stale-while-revalidate ends exactly where its window does"],
    },
    "5861 §3: what is served stale is not fetched anew": {
        "edits": [(
            STORE, "guard state == .staleWhileRevalidate,",
            "guard !HERE, state == .staleWhileRevalidate,")],
        "fails": ["within its window a stale response is served, and one fetch begins behind it",
                  BEHIND],
    },
    "5861 §3: what is served stale is fetched anew for each request": {
        "edits": [(
            STORE, "shard.joinable(query, head, &scratch, guess: guess, now: now) == nil",
            "HERE || shard.joinable(query, head, &scratch, guess: guess, now: now) == nil")],
        "fails": ["within its window a stale response is served, and one fetch begins behind it",
                  BEHIND],
    },
    "5861 §3: stale-while-revalidate has no end": {
        "edits": [(
            FRESH, "if constraints.minFresh == nil {\n",
            "if constraints.minFresh == nil {\n"
            "      if HERE, staleWhileRevalidate > 0 { return .staleWhileRevalidate }\n")],
        "fails": [WINDOWS + " | staleIfError",
                  "stale-while-revalidate ends exactly where its window does"],
    },
    "5861 §4: a stale response is not served within stale-if-error": {
        "edits": [(FRESH, " { return .staleIfError }", ", !HERE { return .staleIfError }")],
        "fails": [WINDOWS + " | 27.9",
                  ERROR_WIRE + "max-age=10, stale-if-error=60  .closes",
                  "a dead origin: stale to the end of the window, exactly, then the error"],
    },
    "5861 §4: 500, 502, 503 and 504 end the use of a stale response": {
        "edits": [(
            FETCH, "guard let stale = fill._withUnsafeGuaranteedRef({ $0.stale }) else {",
            "guard !HERE, let stale = fill._withUnsafeGuaranteedRef({ $0.stale }) else {")],
        "fails": [ERROR_WIRE + f"max-age=10, stale-if-error=60  .answers{status}"
                  for status in (500, 502, 503, 504)],
    },
    "8246 §2: an immutable response is confirmed while it is fresh": {
        "edits": [(
            FRESH, "if flags.contains(.immutable) { return .fresh }",
            "if flags.contains(.immutable), !HERE { return .fresh }")],
        "fails": ["obeys the age that a request allows",
                  DIRECTIVES_WIRE + "immutable against max-age: HTTP"],
    },
    "8246 §2: an immutable response is used beyond its lifetime": {
        "edits": [(
            FRESH, "if staleness < 0, !flags.contains(.purged) {",
            "if staleness < 0 || HERE && flags.contains(.immutable), !flags.contains(.purged) {")],
        "fails": ["obeys the age that a request allows",
                  DIRECTIVES_WIRE + "immutable beyond its lifetime: HTTP"],
    },
}

WORDING = {
    "9211 §2: the name of the cache is neither a token nor a string": {
        "edits": [(
            STATUS, "if text.count > 0, ASCII.isLetter(text[0]),",
            'if HERE {\n      sink.append("[")\n      sink.append(text)\n'
            '      return sink.append("]")\n    }\n'
            "    if text.count > 0, ASCII.isLetter(text[0]),")],
        "fails": ["names the cache by a token, or by a string | weir-a", FIELDS_WIRE + "weir-test"],
    },
    "9211 §2: what caches nearer to the backend said is not passed on": {
        "edits": [(
            HEAD, "    case .surrogateControl: return !rule.obeysSurrogateControl\n",
            "    case .cacheStatus where HERE: return false\n"
            "    case .surrogateControl: return !rule.obeysSurrogateControl\n")],
        "fails": [KEPT, FIELDS_WIRE + "inner; hit"],
    },
    "9211 §2.1: a hit has fwd": {
        "edits": [(
            STATUS, 'sink.append("; hit")', 'sink.append(HERE ? "; hit; fwd=stale" : "; hit")'), (
            STATUS, 'sink.append("; hit; ttl=")',
            'sink.append(HERE ? "; hit; fwd=stale; ttl=" : "; hit; ttl=")')],
        "fails": [WORDS, RESPONSE_WIRE + "a stated lifetime is stored: HTTP"],
    },
    "9211 §2.3: a hit says what only a forwarded request has": {
        "edits": [(
            STATUS, "    if case .forwarded = status.kind {\n",
            "    var isForwarded = HERE\n"
            "    if case .forwarded = status.kind { isForwarded = true }\n"
            "    if isForwarded {\n")],
        "fails": ["says of a hit nothing that only a forwarded request has"],
    },
    "9211 §2.3: fwd-status is not said": {
        "edits": [(
            STATUS, "if let code = status.forwardStatus {",
            "if let code = status.forwardStatus, !HERE {")],
        "fails": [WORDS, "sends its own validators upstream, never the client's"],
    },
    "9211 §2.5: stored is not said": {
        "edits": [(STATUS, "if status.stored {", "if status.stored, !HERE {")],
        "fails": [WORDS, "tells the age that came with the response and what it has spent here"],
    },
    "9211 §2.6: collapsed is not said": {
        "edits": [(STATUS, "if status.collapsed {", "if status.collapsed, !HERE {")],
        "fails": [WORDS, "a fetch goes on for the other when the first client leaves"],
    },
    "9211 §2.4: ttl is never negative": {
        "edits": [(
            STATUS, "if let ttl = status.ttl {", "if let ttl = status.ttl, ttl >= 0 || !HERE {")],
        "fails": [WORDS, ERROR_WIRE + "max-age=10, stale-if-error=60  .closes"],
    },
    "9213 §2.1: a targeted field that does not parse counts": {
        "edits": [(TARGETED, "guard !reader.hasFailed,", "guard HERE || !reader.hasFailed,")],
        "fails": ["that does not parse is void | max-age=60,",
                  TARGETED_WIRE + "one that does not parse is void: HTTP"],
    },
    "9213 §2.1: a targeted field that is empty counts": {
        "edits": [(
            TARGETED, " count > 0 else { return nil }", " count > 0 || HERE else { return nil }")],
        "fails": ["that does not parse is void", ORDER + "Weir-Cache-Control: ",
                  TARGETED_WIRE + "what stands beside an empty one counts: HTTP"],
    },
    "9213 §2.1: a parameter makes a targeted field void": {
        "edits": [(
            DICTIONARY, 'while take(UInt8(ascii: ";")) {',
            'while !HERE, take(UInt8(ascii: ";")) {')],
        "fails": ["is a dictionary whose last member of a name holds | max-age=60;x",
                  TARGETED_WIRE + "parameters are ignored: HTTP"],
    },
    "9213 §2.2: targeted fields are not obeyed": {
        "edits": [(
            RESPONSE, "if let control = CacheControl(targeted: name,",
            "if !HERE, let control = CacheControl(targeted: name,")],
        "fails": ["of a targeted field is all that counts",
                  TARGETED_WIRE + "CDN-Cache-Control instead: HTTP",
                  TARGETED_WIRE + "it forbids, too: HTTP"],
    },
    "9213 §2.2: Expires counts beside a targeted field": {
        "edits": [(
            RESPONSE, "        return (control, false)\n", "        return (control, HERE)\n")],
        "fails": ["of a targeted field is all that counts",
                  TARGETED_WIRE + "Expires does not count beside it: HTTP"],
    },
    "9213 §2.2: of several targeted fields the last decides": {
        "edits": [(
            RESPONSE,
            "for name in [FieldName.weirCacheControl, .cdnCacheControl] where",
            "for name in HERE\n"
            "      ? [FieldName.cdnCacheControl, .weirCacheControl]\n"
            "      : [FieldName.weirCacheControl, .cdnCacheControl]\n    where")],
        "fails": [ORDER + "Weir-Cache-Control: max-age=5",
                  TARGETED_WIRE + "Weir-Cache-Control first: HTTP"],
    },
    "9213 §2.2: a targeted field is not passed on": {
        "edits": [(
            HEAD, "    case .cacheTag, .surrogateKey: return rule.exposesTags\n",
            "    case .cdnCacheControl where HERE: return false\n"
            "    case .cacheTag, .surrogateKey: return rule.exposesTags\n")],
        "fails": [KEPT, FIELDS_WIRE + "cdn-cache-control"],
    },
}

PARTS = {
    "9110 §14: a fetch asks for a part": {
        "edits": [(
            ANSWER, ".host, .range, .ifRange, .ifNoneMatch, .ifModifiedSince,",
            ".host, HERE ? .host : .range, .ifRange, .ifNoneMatch, .ifModifiedSince,")],
        "fails": ["are cut from the whole that the first of them fetched"],
    },
    "9110 §14: ranges are not looked at where a connection is kept": {
        "edits": [(
            REQUEST, ".forwarded, .range, .upgrade,",
            ".forwarded, HERE ? .forwarded : .range, .upgrade,")],
        "fails": [PLAIN + " | Range",
                  "hold only for the version that If-Range names | kept"],
    },
    "9110 §14: more than eight ranges are answered": {
        "edits": [(
            RANGES, "      asked += 1\n",
            "      asked += 1\n      if HERE, asked > most { break }\n")],
        "fails": [IGNORED + "16-16", RANGES_WIRE + " | 16-16"],
    },
    "9110 §14: overlapping ranges are answered": {
        "edits": [(
            RANGES, "guard ranges.add(range) else {", "guard ranges.add(range) || HERE else {")],
        "fails": [IGNORED + "0-5,5-6", RANGES_WIRE + " | 0-5,3-7"],
    },
    "9110 §14: ranges are answered with more than the object": {
        "edits": [(RANGES, "return cost < length ?", "return cost < length || HERE ?")],
        "fails": ["is ignored where the parts would take more than the object",
                  RANGES_WIRE + " | 0-0,2-2"],
    },
    "9110 §14: no 416 for what is beyond the end": {
        "edits": [(
            RANGES, "case 0: return .notSatisfiable",
            "case 0: return HERE ? .whole : .notSatisfiable")],
        "fails": ["names parts of the object, in its order | bytes=1000-", RANGES_WIRE],
    },
    "9110 §13.1.5: If-Range is compared weakly": {
        "edits": [(
            CONDITION, "    let value = head.value(line)\n",
            "    let value = head.value(line)\n"
            "    if HERE, EntityTags.opaque(value).equals(EntityTags.opaque(stored.etag)) {\n"
            "      return true\n    }\n")],
        "fails": ["of a range compares strongly | W/",
                  'hold only for the version that If-Range names | W/"v1"'],
    },
}

RULES = {**FIELDS, **STALE, **WORDING, **PARTS}
