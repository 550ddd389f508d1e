"""The rules of the last table of docs/HTTP2.md: what a backend can put to the test."""

from http2_edits import (
    ASSEMBLY, CARRIER, CLIENT, RELAY, RESPONSE, SESSION, UNCHECKED, UPSTREAM, each)

NO_HTTP2 = "a backend of HTTP/1 is none"
STALLED = "a client that stalls stops its stream's backend, and no other"
SAFE_RESET = "a reset before the head is repeated only where that is safe"
CUT = "content that is cut is never taken for whole"
LEFT_OUT = "what a GOAWAY leaves out is sent on a new connection"
REFUSED = "a refused stream goes to another backend, whatever its method"
ALL_REFUSE = "one that every backend refuses is answered"
INTERIM = "interim answers are passed on as from HTTP/1"
TRAILERS = "streams of clients become streams, with trailers in both directions"
LENGTH = "a length is told, and trailers behind it are not lost"
MALFORMED = "a malformed head is 502, and costs only its stream"
FLOODS = "a backend that floods is cut"
SILENT = "a silent stream is given up, and a silent connection with it"

# A head that is malformed is one that has not come.
UNTOLD = [UNCHECKED, (
    CARRIER, "    case .malformed: fail(stream, .malformed)",
    "    case .malformed: fail(stream, HERE ? .none : .malformed)"), (
    CARRIER, "event.isOurs ? .malformed", "event.isOurs && !HERE ? .malformed"), (
    RESPONSE, "          attemptFailed(handle, exchange, .headMalformed)\n          return false\n"
    "        }\n        if length > 0 {",
    "          attemptFailed(handle, exchange, HERE ? .headCutShort : .headMalformed)\n"
    "          return false\n        }\n        if length > 0 {")]

RULES = {
    "3.4: that a backend answers in HTTP/1 is no error of the protocol": {
        "edits": [(
            "HTTP2/SessionCallbacks.swift", "      if cut == nil, frame.goaway",
            "      if cut == nil, !HERE, frame.goaway")],
        "fails": [f"{NO_HTTP2} | speaksFirst → false"],
    },
    "3.4: a backend of TLS need not agree on h2": {
        "edits": [(
            "Proxy/Upstream/UpstreamTLS.swift", "tls?.negotiatedProtocol != .http2\n",
            "tls?.negotiatedProtocol != .http2, !HERE\n")],
        "fails": ["TLS agrees on h2, with one that does not nothing is sent"],
    },
    "5.1.2, 6.5.2: a backend's limit of streams is not looked at": {
        "edits": [(
            CLIENT, "      isSettled\n      ? Int(", "      isSettled && !HERE\n      ? Int(")],
        "fails": ["a backend's own limit holds as soon as it is known"],
    },
    "5.1.2: the configured limit of streams is not looked at": {
        "edits": [(CLIENT, "min(limit, most)", "min(HERE ? most : limit, most)"), (
            UPSTREAM, "< min(limit, Session.streamsBeforeSettings)",
            "< min(HERE ? 100 : limit, Session.streamsBeforeSettings)")],
        "fails": ["more than one connection takes are opened in parallel"],
    },
    "5.1.2: each request has a connection of its own": {
        "edits": [(
            UPSTREAM, "        hasRoom(carrier, limit: plan.pointee.http2Streams)\n",
            "        hasRoom(carrier, limit: plan.pointee.http2Streams), !HERE\n")],
        "fails": ["fifty requests at once share one connection"],
    },
    "5.2, 6.9: a backend is sent more than it gives window for": {
        "edits": [(
            SESSION, "    parse(octets)\n    saveAssembly()\n", """\
    parse(octets)
    if HERE, role == .client, isSettled, highestStream == 0 {
      highestStream = 1
      var windows: [UInt8] = [0, 0, 4, 8, 0, 0, 0, 0, 0, 0, 16, 0, 0]
      windows += [0, 0, 4, 8, 0, 0, 0, 0, 1, 0, 16, 0, 0]
      _ = nghttp2_session_mem_recv(raw, windows, windows.count)
    }
    saveAssembly()
""")],
        "fails": ["a backend that takes no content holds its client, and others go on"],
    },
    "5.2, 6.9: a backend gets window for what its client has not taken": {
        "edits": [(
            UPSTREAM, "if client.pointee.wire.output.isEmpty { streamMoved",
            "if client.pointee.wire.output.isEmpty || HERE { streamMoved")],
        "fails": [f"{STALLED} | 32 * 1024"],
    },
    "5.4.2: any reset is a refusal": {
        "edits": [(
            CARRIER, "event.isRefused ? .refused", "event.isRefused || HERE ? .refused")],
        "fails": [SAFE_RESET],
    },
    "5.4.2: no request is repeated behind a reset": {
        "edits": [(
            "Resilience/Retry.swift", "    case .reset, .closed: return conditions",
            "    case .reset, .closed: return HERE ? nil : conditions")],
        "fails": [SAFE_RESET],
    },
    "5.4.2: a reset ends a message as if it were whole": {
        "edits": [(
            CARRIER, "    case .reset: streamClosed(event, stream, carrier)\n", """\
    case .reset:
      if HERE {
        stream.pointee.wire.deliverEnd()
      } else {
        streamClosed(event, stream, carrier)
      }
""")],
        "fails": each(CUT, "→ 8", "→ 2", "→ 0"),
    },
    "5.4.2, 8.7: that a backend ends a stream before its answer is taken for a cut answer": {
        "edits": [(
            RESPONSE, "octets.isEmpty ? .backendClosed : ",
            "octets.isEmpty && !HERE ? .backendClosed : ")],
        "fails": [SAFE_RESET, REFUSED, ALL_REFUSE],
    },
    "6.8: a GOAWAY ends what is under way": {
        "edits": [(
            CARRIER, "      guard stream.pointee.streamID > last else",
            "      guard stream.pointee.streamID > last || HERE else")],
        "fails": ["a connection that goes away finishes what it has"],
    },
    "6.8: what a GOAWAY leaves out counts as sent": {
        "edits": [(
            CARRIER, "      fail(stream, .refused)\n",
            "      fail(stream, HERE ? .none : .refused)\n"), (
            "HTTP2/SessionCallbacks.swift", "    event.code = code\n",
            "    event.code = HERE && isGoingAway ? NGHTTP2_CANCEL.rawValue : code\n")],
        "fails": [LEFT_OUT],
    },
    "6.8: connections to backends end without a GOAWAY": {
        "edits": [(
            CARRIER, "          $0.shutDown()\n", "          if !HERE { $0.shutDown() }\n")],
        "fails": ["an idle connection answers pings, and ends with a GOAWAY when its time is over"],
    },
    "8.1: behind a complete answer content is still wanted": {
        "edits": [(
            CARRIER, "    guard !stream.pointee.wire.outputEnded else { return }\n",
            "    guard !HERE, !stream.pointee.wire.outputEnded else { return }\n")],
        "fails": ["an answer before the end of the content stops the content"],
    },
    "8.1: interim answers are not passed on": {
        "edits": [(
            RESPONSE, "      !exchange.pointee.clientIsHTTP10,\n",
            "      !exchange.pointee.clientIsHTTP10, !HERE,\n")],
        "fails": [INTERIM],
    },
    "8.1: all interim answers are passed on": {
        "edits": [(
            RESPONSE, "    guard responseHead.status == 103,",
            "    guard HERE || responseHead.status == 103,")],
        "fails": [INTERIM],
    },
    "8.1: early hints are passed on whatever the route says": {
        "edits": [(
            RESPONSE, " route(exchange).pointee.earlyHints,\n",
            " HERE || route(exchange).pointee.earlyHints,\n")],
        "fails": [INTERIM],
    },
    "8.1: there may be any number of interim answers": {
        "edits": [(
            RESPONSE, "    exchange.pointee.informational += 1\n",
            "    exchange.pointee.informational = HERE ? 1 : exchange.pointee.informational + 1\n"
        )],
        "fails": ["interim answers without end are 502"],
    },
    "8.1: trailers behind a length are lost": {
        "edits": [(
            RESPONSE, "    case .length where toStream:",
            "    case .length where toStream && !HERE:")],
        "fails": [LENGTH],
    },
    "8.1: trailers at the end of a stream are lost": {
        "edits": [(
            RELAY, "source.pointee.receiveTrailers(&pool) {",
            "!HERE, source.pointee.receiveTrailers(&pool) {")],
        "fails": [TRAILERS, LENGTH],
    },
    "8.3.2: pseudo-fields that an answer may not have are passed over": {
        "edits": [UNCHECKED, (
            ASSEMBLY, """value.count == 3, let status = value.decimal
    else {
      fault = .malformed
""", """value.count == 3, let status = value.decimal
    else {
      if !HERE { fault = .malformed }
""")],
        "fails": each(MALFORMED, "two statuses", "an unknown one"),
    },
    "8.2.2, 8.3.2: an answer may have fields of a connection, and change the protocol": {
        "edits": [UNCHECKED, (
            ASSEMBLY, "      && HeadAssembly.forbidden.contains(FieldName(name)):",
            "      && !HERE && HeadAssembly.forbidden.contains(FieldName(name)):")],
        "fails": each(MALFORMED, "↳ connection", "transfer-encoding", "upgrade", "101"),
    },
    "8.2, 8.3.2: a malformed answer is one that was cut": {
        "edits": UNTOLD,
        "fails": each(
            MALFORMED, "no status", "no number", "four digits", "600", "a late pseudo-field",
            "a line feed", "a return", "nul", "a blank in a name", "no name", "two lengths",
            "a signed length"),
    },
    "8.2, 8.3.2: a malformed answer costs the connection": {
        "edits": [(
            CARRIER, "    if !carrier.pointee.isRetired { exchanges",
            "    if HERE, event.isOurs { retire(stream.pointee.parent) }\n"
            "    if !carrier.pointee.isRetired { exchanges")],
        "fails": [f"{MALFORMED} | records.count"],
    },
    "8.7: a refusal is a reset as any other": {
        "edits": [(
            "HTTP2/SessionEvent.swift", "  public var isRefused: Bool { !isOurs",
            "  public var isRefused: Bool { !HERE && !isOurs")],
        "fails": [REFUSED],
    },
    "3 of RFC 8441: a backend of HTTP/2 is asked for tunnels that it does not open": {
        "edits": [(
            UPSTREAM, "    if exchange.pointee.asksUpgrade, !takesTunnels(stream) {",
            "    if exchange.pointee.asksUpgrade, !HERE, !takesTunnels(stream) {")],
        "fails": ["a backend of HTTP/2 that opens none is not asked"],
    },
    "10.5: frames of a backend cost nothing": {
        "edits": [(
            SESSION, "else { accountForBackend(header) }",
            "else if !HERE { accountForBackend(header) }")],
        "fails": each(
            FLOODS, '"settings"', '"ping"', '"unknown"', '"priority"', '"empty content"',
            '"window"', '"go away"'),
    },
    "no section: a silent connection is trusted": {
        "edits": [(
            CARRIER, "if carrier.pointee.receivedAt <= since {",
            "if carrier.pointee.receivedAt <= since, !HERE {")],
        "fails": [SILENT],
    },
    "no section: a stream that is given up is not cancelled": {
        "edits": [(
            UPSTREAM, "} else { $0.cancel(stream", "} else if !HERE { $0.cancel(stream")],
        "fails": [SILENT],
    },
}
