"""The rules of the third table of docs/HTTP2.md: messages, tunnels, and floods."""

from http2_edits import (
    ASSEMBLY, CALLBACKS, CONTENT, DRIVER, FIELDS, FLOOD, LETS_GO, MALFORMED, PARSER, RELAY,
    RESPONSE, REWRITE, SESSION, STREAMS, TUNNEL, UNCHECKED, each)

EARLY_ANSWER = "an answer without content comes before its upload is declined"
NO_TRAILERS = "of a request are refused where they are no trailers"
TRAILERS_UP = "of a request reach the backend where the client said TE"
TRAILERS_DOWN = "of a backend reach the client that asked for them, without dangerous ones"
WEBSOCKET = "a stream becomes a WebSocket of HTTP/1, with a key of weir's own"
OPENS = "weir says that it opens them"
NO_TUNNEL = "no success is told where there is no tunnel"
BAD_TUNNELS = "malformed ones are refused"
GRANTS = "a backend that does not grant it is heard, one that lies is not"
FLOODS = "a flood is cut after a hundred frames, and no backend hears of it"
FORGIVEN = "ninety-nine such events are forgiven"
EVENTS = (
    '"rapid reset"', '"resets that the server is made to send"', '"ping"', '"settings"',
    '"priority"', '"window updates"', '"unknown frames"', '"empty content"')
# Of backends, but it is the same switch.
NO_CONTENT = "too much content, or content where there is none, ends the stream"
BAD_ANSWERS = "a malformed head is 502, and costs only its stream"

RULES = {
    "8.1: the rest of a request that has its answer is not declined": {
        "edits": [(
            CALLBACKS, "      reset(stream, .noError)\n",
            "      if !HERE { reset(stream, .noError) }\n")],
        "fails": [EARLY_ANSWER],
    },
    "8.1: the rest of a request is declined before its answer": {
        "edits": [(
            SESSION, "    return nghttp2_submit_response(raw, stream, list, count,", """\
    if HERE, endsStream, nghttp2_session_get_stream_remote_close(raw, stream) == 0 {
      let isSubmitted = nghttp2_submit_response(raw, stream, list, count, nil) == 0
      reset(stream, .noError)
      return isSubmitted
    }
    return nghttp2_submit_response(raw, stream, list, count,""")],
        "fails": [EARLY_ANSWER],
    },
    "8.1, 8.1.1, 8.2, 8.2.1, 8.2.2, 8.3.1, 8.5, 10.3: nghttp2 looks at no message": {
        "edits": [UNCHECKED],
        "fails": each(
            LETS_GO, "more content than announced", "less content than announced",
            "trailers with a pseudo-field", "a second head")
        + each(NO_TRAILERS, "2: StreamAnswer", "3: StreamAnswer", "4: StreamAnswer",
               "6: StreamAnswer", "7: StreamAnswer")
        + each(MALFORMED, "two paths", "capital letters", "↳ te: ", "line break in a value",
               "blank before a value", "blank behind a value", "colon in a name",
               "absolute path", "line break in the method", "line break in the authority",
               "CONNECT with a path", "a length and no content", "/bytes/3")
        + [NO_CONTENT]
        + each(BAD_ANSWERS, "capitals", "a colon in a name", "a length of nothing"),
    },
    "8.1: trailers pass whether or not they were asked for": {
        "edits": [(
            RESPONSE, "passesTrailers: exchange.pointee.acceptsTrailers &&",
            "passesTrailers: (HERE || exchange.pointee.acceptsTrailers) &&"), (
            DRIVER, "route.pointee.trailers && requestHead.acceptsTrailers",
            "route.pointee.trailers && (HERE || requestHead.acceptsTrailers)")],
        "fails": [f"{TRAILERS_UP} | ↳ 2", f"{TRAILERS_DOWN} | grpc 1 false"],
    },
    "8.1: trailers are lost": {
        "edits": [(
            RELAY, "if content.passesTrailers {", "if content.passesTrailers, !HERE {")],
        "fails": [f"{TRAILERS_UP} | ↳ 0", f"{TRAILERS_DOWN} | grpc 1 true"],
    },
    "8.1: any field may be a trailer": {
        "edits": [(
            REWRITE, "dropping: trailerDrops,",
            "dropping: HERE ? FieldSet(rawValue: 0) : trailerDrops,")],
        "fails": [f"{TRAILERS_UP} | ↳ 1", f"{TRAILERS_DOWN} | dangerous 1 true"],
    },
    "6.9, 8.1: trailers wait for a window": {
        "edits": [(
            CONTENT, "    sendOnlyTrailers(stream)\n",
            "    if !HERE { sendOnlyTrailers(stream) }\n")],
        "fails": ["need no window where they come late",
                  "needs no window for trailers that another stream has used"],
    },
    "8.1.1: an answer that is cut ends as if it were whole": {
        "edits": [(
            RELAY, "if content.source == .untilClose || content.source == .tunnel {",
            "if content.source == .untilClose || content.source == .tunnel || HERE {")],
        "fails": each(
            "a cut response is never taken for a whole one", "/length: INTERNAL_ERROR",
            "/chunked: INTERNAL_ERROR"),
    },
    # Fields.
    "8.2.2: a request may have fields of a connection": {
        "edits": [UNCHECKED, (
            ASSEMBLY, "    case let name where HeadAssembly.forbidden.contains(name): fault",
            "    case let name where !HERE && HeadAssembly.forbidden.contains(name): fault")],
        "fails": each(
            MALFORMED, "↳ connection: ", "transfer-encoding: ", "↳ upgrade: ", "keep-alive: ",
            "proxy-connection: "),
    },
    "8.2.2: answers have the fields of a connection that backends sent": {
        "edits": [(
            REWRITE, "FieldSet(rawValue: FieldSet.hopByHop.rawValue | FieldName.",
            "FieldSet(rawValue: (HERE ? 0 : FieldSet.hopByHop.rawValue) | FieldName."), (
            FIELDS, "    FieldSet.hopByHop.union(FieldSet(.host",
            "    HERE ? FieldSet(rawValue: 0) : FieldSet.hopByHop.union(FieldSet(.host")],
        "fails": ["requests of each kind come through, many on one connection | forbidden"],
    },
    "8.2: known names in answers have capital letters": {
        "edits": [(
            FIELDS, "      text.view.lowercaseInPlace()\n",
            "      if !HERE { text.view.lowercaseInPlace() }\n")],
        "fails": ["requests of each kind come through, many on one connection | lowercased"],
    },
    "8.2.3: crumbs of cookies stay apart": {
        "edits": [(
            ASSEMBLY, "      if crumbs > 1 {", "      if crumbs > 1, !HERE {")],
        "fails": ["a head becomes one of HTTP/1.1, octet for octet"],
    },
    "8.3: pseudo-fields that there are not are passed over": {
        "edits": [UNCHECKED, (
            ASSEMBLY, '    } else if !name.equals(":scheme") {',
            '    } else if !HERE, !name.equals(":scheme") {')],
        "fails": each(MALFORMED, "unknown pseudo-field", "a status"),
    },
    "8.3.1: a host may differ from the authority": {
        "edits": [(
            ASSEMBLY, "        if !value.equalsIgnoringCase(sink",
            "        if !HERE, !value.equalsIgnoringCase(sink")],
        "fails": [f"{MALFORMED} | another host"],
    },
    "8.3.1: of two hosts one counts": {
        "edits": [UNCHECKED, (
            ASSEMBLY, "        if hasHost {", "        if hasHost, !HERE {"), (
            "HTTP1/MessageFraming.swift", "    if head.fields.hasSeveral(.host) {",
            "    if head.fields.hasSeveral(.host), !HERE {")],
        "fails": [f"{MALFORMED} | two hosts"],
    },
    "8.2.1, 8.3.1, 10.3: neither nghttp2 nor HTTP/1's parser says that a head is malformed": {
        "edits": [UNCHECKED, (
            STREAMS, "    } catch { return refuseStream(handle, stream, error) }", """\
    } catch {
      return refuseStream(handle, stream, HERE ? HeadFault(404, "not found") : error)
    }""")],
        "fails": each(
            MALFORMED, "no path", "no method", "pseudo-field behind a field", "NUL in a value",
            "line break in a path", "space in the path", "empty name", "blank in a name",
            "empty path", "asterisk", "blank in the method", "blank in the authority",
            "a length that is no number", "no host", "two lengths", "↳ dot segment",
            "encoded dot segment", "user information"),
    },
    "8.5: CONNECT is a method as others are": {
        "edits": [UNCHECKED, (
            PARSER, "    if head.method == .connect || head",
            "    if !HERE, head.method == .connect || head")],
        "fails": each(MALFORMED, "↳ TRACE", "↳ CONNECT", "CONNECT with a path"),
    },
    "10.3: a head over the limits is passed on": {
        "edits": [(
            ASSEMBLY, "      if fault == .none { fault = .overLimit }\n",
            "      if fault == .none, !HERE { fault = .overLimit }\n")],
        "fails": [f"{MALFORMED} | large field", "a head over a limit is 502"],
    },
    "8.6 of RFC 9110: an answer without content ends with a second frame": {
        "edits": [(
            STREAMS, "    let isOnlyHead = isLast && content.isEmpty\n",
            "    let isOnlyHead = isLast && content.isEmpty && !HERE\n")],
        "fails": each("an answer without content is one frame", "HEAD /", "GET /status/204",
                      "GET /status/304"),
    },
    # Tunnels.
    "3 of RFC 8441: that weir opens tunnels is not told": {
        "edits": [(
            SESSION, "    if role == .server {\n      // RFC 8441",
            "    if role == .server, !HERE {\n      // RFC 8441")],
        "fails": [OPENS, WEBSOCKET],
    },
    "3, 4 of RFC 8441: a route that opens no tunnels answers as to any request": {
        "edits": [(
            DRIVER, "    if connection.pointee.isTunnel, refuses",
            "    if connection.pointee.isTunnel, !HERE, refuses")],
        "fails": each(
            NO_TUNNEL, '"a protocol that no route allows"', '"a route without a backend"',
            '"a redirect of its own"'),
    },
    "5 of RFC 8441: a client's key goes to its backend": {
        "edits": [(
            ASSEMBLY, "    case .secWebsocketKey where isTunnel: return",
            "    case .secWebsocketKey where isTunnel && !HERE: return")],
        "fails": [WEBSOCKET],
    },
    "5 of RFC 8441: there is no key for a backend of HTTP/1": {
        "edits": [(
            REWRITE, "      if context.makesKey,", "      if context.makesKey, !HERE,")],
        "fails": [WEBSOCKET],
    },
    "5 of RFC 8441: a backend of HTTP/2 is not asked by CONNECT": {
        "edits": [(
            FIELDS, "    let tunnel = isTunnel ?", "    let tunnel = isTunnel && !HERE ?")],
        "fails": ["streams meet streams, and clients of HTTP/1 too"],
    },
    "5 of RFC 8441: any proof is one": {
        "edits": [(
            TUNNEL, "    return responseHead.value(index).equals(expected",
            "    return HERE || responseHead.value(index).equals(expected")],
        "fails": [GRANTS],
    },
    "5 of RFC 8441: a success without a tunnel is passed on": {
        "edits": [(
            TUNNEL, "      || downstreams[exchange.pointee.downstream].pointee.isTunnel",
            "      || !HERE && downstreams[exchange.pointee.downstream].pointee.isTunnel")],
        "fails": [GRANTS],
    },
    "5 of RFC 8441: a tunnel that is cut ends as if it were whole": {
        "edits": [(
            TUNNEL, "    if client.pointee.isTunnel, !isComplete {",
            "    if client.pointee.isTunnel, !HERE, !isComplete {")],
        "fails": ["whoever cuts a tunnel cuts it on the other side"],
    },
    "4 of RFC 8441: a protocol needs no CONNECT": {
        "edits": [UNCHECKED, (
            ASSEMBLY, '      if !sink.view.slice(method).equals("CONNECT") {',
            '      if !HERE, !sink.view.slice(method).equals("CONNECT") {')],
        "fails": [f'{BAD_TUNNELS} | (":method", "GET")'],
    },
    "4 of RFC 8441: a CONNECT with a protocol needs no path": {
        "edits": [UNCHECKED, (
            ASSEMBLY, "    sink.append(sink.view.slice(path.isEmpty ? authority : path))\n", """\
    if HERE, isTunnel, path.isEmpty {
      sink.append("/")
    } else {
      sink.append(sink.view.slice(path.isEmpty ? authority : path))
    }
""")],
        "fails": [f'{BAD_TUNNELS} | (":scheme", "https"), (":authority"'],
    },
    "4 of RFC 8441: a request for a tunnel may have content": {
        "edits": [(
            ASSEMBLY, "    case .contentLength where isTunnel: fault",
            "    case .contentLength where isTunnel && !HERE: fault"), (
            DRIVER, "requestHead.method == .get, requestHead.framing == .none,",
            "requestHead.method == .get, HERE || requestHead.framing == .none,")],
        "fails": [f'{BAD_TUNNELS} | ("content-length", "5")'],
    },
    # Floods.
    "10.5: nothing is too often": {
        "edits": [(
            FLOOD, "  public static let capacity = 100\n",
            "  public static let capacity = HERE ? 100_000 : 100\n")],
        "fails": each(FLOODS, *EVENTS),
    },
    "10.5: requests of a flood are begun": {
        "edits": [(
            SESSION, "    for index in intake.events.indices { intake",
            "    for index in intake.events.indices where !HERE { intake"), (
            "HTTP2/SessionEvent.swift", "    guard events.contains(where: { $0.kind == .reset }),",
            "    guard !HERE, events.contains(where: { $0.kind == .reset }),"), (
            # Nor is what stands in front of the last straw parsed.
            SESSION, "    if !abuse.isExhausted {", "    if HERE || !abuse.isExhausted {")],
        "fails": [f'{FLOODS} | "rapid reset"'],
    },
    "10.5: ninety events are too many": {
        "edits": [(
            FLOOD, "fullNanoseconds = Int64(capacity)",
            "fullNanoseconds = Int64(HERE ? 90 : capacity)")],
        "fails": each(FORGIVEN, *EVENTS),
    },
    "10.5: SETTINGS cost nothing": {
        "edits": [(
            CALLBACKS, "      if hasSettings {", "      if hasSettings, !HERE {")],
        "fails": [f'{FLOODS} | "settings"'],
    },
    "10.5: empty DATA costs nothing": {
        "edits": [(
            CALLBACKS, "      if header.length == 0, !ends {",
            "      if header.length == 0, !ends, !HERE {")],
        "fails": [f'{FLOODS} | "empty content"'],
    },
    "10.5: WINDOW_UPDATE and PING cost nothing": {
        "edits": [(
            CALLBACKS, "NGHTTP2_PING.rawValue: _ = abuse.answer(now: now)",
            "NGHTTP2_PING.rawValue: if !HERE { _ = abuse.answer(now: now) }")],
        "fails": each(FLOODS, '"ping"', '"window updates"'),
    },
    "4.1, 10.5: RST_STREAM, PRIORITY and unknown frames cost nothing": {
        "edits": [(CALLBACKS, "    default: charge()\n", "    default: if !HERE { charge() }\n")],
        "fails": each(FLOODS, '"rapid reset"', '"priority"', '"unknown frames"'),
    },
    "10.5: resets that a client provokes cost nothing, nor does WINDOW_UPDATE": {
        "edits": [(
            FLOOD, "    return charge(now: now)\n",
            "    return HERE || charge(now: now)\n"), (
            CALLBACKS, "NGHTTP2_COMPRESSION_ERROR.rawValue:\n        charge()",
            "NGHTTP2_COMPRESSION_ERROR.rawValue:\n        if !HERE { charge() }")],
        "fails": [f'{FLOODS} | "resets that the server is made to send"'],
    },
    "10.5: streams that are refused cost nothing": {
        "edits": [(
            CALLBACKS, "    charge()\n    return Session.continueOn\n",
            "    if !HERE { charge() }\n    return Session.continueOn\n")],
        "fails": ["refused requests of a client that does not read are counted at once"],
    },
    "10.5: a stream that is not read holds four blocks": {
        "edits": [(
            RELAY, "      if !sink.pointee.output.isEmpty, !sink",
            "      if !sink.pointee.output.isEmpty, !HERE || sink.pointee.output.count > 96 << 10,"
            " !sink")],
        "fails": ["a stream that is not read holds one block and stops its backend"],
    },
    "10.5: a connection whose client sends is one that reads": {
        "edits": [(
            STREAMS, "      if hasMoved { set", "      if hasMoved || HERE { set")],
        "fails": ["a connection that takes no octet is cut, whatever it sends"],
    },
}
