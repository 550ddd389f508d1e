"""The rules of the first two tables of docs/HTTP2.md: connections, streams, and types of frames."""

from http2_edits import (
    CALLBACKS, END, ERRORS, IGNORED, LETS_GO, SCAN, SESSION, STREAMS, before, dropped, each,
    fatal, hidden, on_its_way, put)

BEGINS = "a connection that does not begin as it should is ended"
PREFACE = "the preface may come in any pieces, and HTTP/1 shares the port"
SETTINGS = "settings come first, and settings and pings are answered"
LARGE = "frames are as large as they may be, and no larger"
PIECES = "a header block of many pieces is cut"
ENDED = "frames for a stream that has ended are an error, unless weir reset it"
MANY = "more streams than allowed are refused, the others are served"
SAME_READ = "a request that is reset in the same read is not begun"
PADDING = "padding counts, and its window comes back"
WINDOW = "no octet goes beyond the window, not even where settings make it negative"
NO_WINDOW = "a refusal that the client takes no octet of is given up"
GOAWAY = "a client's GOAWAY lets its streams finish and ends the connection"
RESETS = "a reset leaves nothing behind, whatever the exchange was doing"
CUTS = "whoever cuts a tunnel cuts it on the other side"
PING_OF_BACKENDS = (
    "an idle connection answers pings, and ends with a GOAWAY when its time is over")
PROVOKED = (
    "more content than announced", "less content than announced", "trailers with a pseudo-field",
    "a second head")

RULES = {
    # Connections.
    "3.3, 3.4: a preface that comes in pieces is none": {
        "edits": [(
            STREAMS, "? .whole : .partly\n", "? .whole : HERE ? .no : .partly\n")],
        "fails": [PREFACE],
    },
    "3.3: what only begins like the preface is taken for it": {
        "edits": [(
            STREAMS, "let common = min(octets.count, preface.count)\n",
            "let common = min(octets.count, HERE ? 3 : preface.count)\n"), (
            STREAMS, "    return common == preface.count",
            "    return common == (HERE ? 3 : preface.count)")],
        "fails": [PREFACE],
    },
    "3.4: what is no preface is no error": {
        "edits": [(
            SESSION, "      if taken < 0 { verdict",
            "      if taken < 0, !HERE || taken != NGHTTP2_ERR_BAD_CLIENT_MAGIC.rawValue { verdict"
        )],
        "fails": [BEGINS],
    },
    "3.4: SETTINGS behind the preface are not missed": {
        "edits": [(
            SESSION, "    var parsed = 0\n", """\
    var parsed = 0
    if HERE, role == .server, !hasSettings, octets.count >= 24 {
      let settings: [UInt8] = [0, 0, 0, 4, 0, 0, 0, 0, 0]
      _ = nghttp2_session_mem_recv(raw, octets.pointer, 24)
      _ = nghttp2_session_mem_recv(raw, settings, settings.count)
      parsed = 24
    }
""")],
        "fails": [BEGINS],
    },
    "3.4: no SETTINGS are sent": {
        "edits": [(
            SESSION, "    submitSettings()\n  }\n", "    if !HERE { submitSettings() }\n  }\n")],
        "fails": [SETTINGS],
    },
    "4.1, 5.5: an unknown type is an error": {
        "edits": [fatal("header.type > 9")],
        "fails": [f"{IGNORED} | an unknown type"],
    },
    "4.1: undefined flags are an error": {
        "edits": [fatal("header.type == 1, header.flags & 0xC2 != 0")],
        "fails": [f"{IGNORED} | undefined flags and the reserved bit"],
    },
    "4.1: the reserved bit counts": {
        "edits": [(
            SCAN, "stream: Int32(bitPattern: stream & 0x7FFF_FFFF)",
            "stream: Int32(bitPattern: HERE ? stream : stream & 0x7FFF_FFFF)")],
        "fails": [f"{IGNORED} | undefined flags and the reserved bit"],
    },
    "4.2: a frame above 16,384 octets is passed over": {
        "edits": [(
            SESSION, "  private var verdict: Verdict?\n", """\
  private var verdict: Verdict?
  /// Octets of such a frame that are still to come, where HERE.
  private var passedOver = 0
"""), (
            SESSION, "    func parse(until end: Int) {\n", """\
    if HERE {
      parsed = min(passedOver, octets.count)
      passedOver -= parsed
    }
    func parse(until end: Int) {
"""), before("header.length > 16_384", """\
parse(until: header.start)
        let end = header.start + 9 + header.length
        passedOver = max(0, end - octets.count)
        parsed = min(end, octets.count)""")],
        "fails": [f"{ERRORS} | §4.2"],
    },
    "4.2: a frame of 16,384 octets is too large": {
        "edits": [fatal("header.length == 16_384", "FRAME_SIZE_ERROR")],
        "fails": [LARGE],
    },
    "4.2: larger frames are sent to those who would take them": {
        "edits": [(
            CALLBACKS, "    nghttp2_session_callbacks_set_on_begin_headers_callback(callbacks)",
            """\
    if HERE {
      nghttp2_session_callbacks_set_data_source_read_length_callback(callbacks) {
        _, _, _, connection, stream, _, _ in Int(min(connection, stream, 40_000))
      }
    }
    nghttp2_session_callbacks_set_on_begin_headers_callback(callbacks)""")],
        "fails": [LARGE],
    },
    "4.3: that a block cannot be decoded is not told": {
        "edits": [on_its_way(
            "pointer[3] == 7, pointer[16] == 9",
            "UnsafeMutablePointer(mutating: pointer)[16] = 0")],
        "fails": each(ERRORS, "RFC 7541 §2.3.3", "RFC 7541 §6.3", "§6.6 of RFC 7541"),
    },
    "4.3: a block of ten pieces is taken": {
        "edits": [(
            CALLBACKS, "_max_continuations(options, SessionSetup.maxContinuations)",
            "_max_continuations(options, HERE ? 9 : SessionSetup.maxContinuations)")],
        "fails": [PIECES],
    },
    "4.3: a block of nine pieces is cut": {
        "edits": [(
            CALLBACKS, "  private static let maxContinuations = 8\n",
            "  private static let maxContinuations = HERE ? 7 : 8\n")],
        "fails": [PIECES],
    },
    "4.3, 6.2: a header block ends where another frame comes": {
        "edits": [before("header.type == 1, header.flags & 4 == 0", put(4, "|= 4"))],
        "fails": [f"{ERRORS} | §6.2: another frame inside a header block"],
    },
    # States of streams.
    "5.1: frames on idle streams are ignored": {
        "edits": [hidden(
            "header.type == 0 || header.type == 3 || header.type == 8,"
            " header.stream > highestStream")],
        "fails": each(
            ERRORS, "§5.1: DATA on an idle stream", "§5.1: WINDOW_UPDATE on an idle stream",
            "§6.4: RST_STREAM on an idle stream"),
    },
    "5.1: frames on a stream that the client has ended are ignored": {
        "edits": [before("header.type <= 1, header.stream > 0", f"""\
parse(until: header.start)
        if nghttp2_session_get_stream_remote_close(raw, header.stream) == 1 {{
          {put(3, "= 0xB0")}
        }}""")],
        "fails": each(
            ERRORS, "§5.1: HEADERS on a stream that the client has ended",
            "§5.1: DATA on a stream that the client has ended"),
    },
    "5.1: frames on a stream that both sides have ended are ignored": {
        "edits": [(
            SESSION, "if verdict == nil, isForgotten(header) {",
            "if verdict == nil, !HERE, isForgotten(header) {")],
        "fails": [ENDED],
    },
    "5.1: frames that were under way when weir reset their stream are an error": {
        "edits": [(
            SESSION, "!isPresent(header.stream) && !resetByUs.contains(header.stream)",
            "!isPresent(header.stream) && (HERE || !resetByUs.contains(header.stream))")],
        "fails": [ENDED],
    },
    "5.1, 6.1, 6.9: no window comes back, whatever becomes of the content": {
        "edits": [dropped("pointer[3] == 8")],
        "fails": [ENDED, PADDING],
    },
    "5.1: RST_STREAM on a closed stream is an error": {
        "edits": [fatal("header.type == 3, ended.contains(header.stream)", "STREAM_CLOSED")],
        "fails": [f"{IGNORED} | RST_STREAM of a closed stream"],
    },
    "5.1: WINDOW_UPDATE on a closed stream is an error": {
        "edits": [fatal("header.type == 8, ended.contains(header.stream)", "STREAM_CLOSED")],
        "fails": [f"{IGNORED} | WINDOW_UPDATE of a closed stream"],
    },
    "5.1, 6.3: PRIORITY on a closed stream is an error": {
        "edits": [fatal("header.type == 2, ended.contains(header.stream)", "STREAM_CLOSED")],
        "fails": [f"{IGNORED} | PRIORITY of a closed stream"],
    },
    "5.1.1: even streams are ignored": {
        "edits": [hidden("header.type == 1, header.stream > 0, header.stream & 1 == 0")],
        "fails": [f"{ERRORS} | §5.1.1: an even stream"],
    },
    "5.1.1: a stream below the last one is one that was closed": {
        "edits": [(
            SESSION, "let isNew = UInt32(header.type)", "let isNew = !HERE && UInt32(header.type)"
        )],
        "fails": [f"{ERRORS} | §5.1.1: a stream below one that was opened"],
    },
    "5.1.2: there may be any number of streams": {
        "edits": [(
            SESSION, "  public static let maxStreams: UInt32 = 100\n",
            "  public static let maxStreams: UInt32 = HERE ? 1000 : 100\n")],
        "fails": [MANY, "the limit of streams holds for a client that knows it"],
    },
    "5.1.2: whoever asks for one stream too many is cut": {
        "edits": [(
            CALLBACKS, "    guard nghttp2_session_find_stream(raw, frame.hd.stream_id) == nil",
            "    if HERE { abuse.exhaust() }\n"
            "    guard nghttp2_session_find_stream(raw, frame.hd.stream_id) == nil")],
        "fails": [MANY],
    },
    "5.1.2: content behind a refused request is an error": {
        "edits": [(
            CALLBACKS, "    resetByUs.insert(frame.hd.stream_id)\n",
            "    if !HERE { resetByUs.insert(frame.hd.stream_id) }\n")],
        "fails": ["content behind a refused request does no harm to the others"],
    },
    # Errors.
    "5.4.1: no GOAWAY says why a connection ends": {
        "edits": [dropped("pointer[3] == 7"), (
            SESSION, "      early.append(contentsOf:",
            "      if HERE, pointer[3] == 7 { continue }\n      early.append(contentsOf:")],
        "fails": each(
            ERRORS, "§6.5: SETTINGS on a stream", "§6.10: CONTINUATION behind END_HEADERS"),
    },
    "5.4.1: behind the GOAWAY for an error the connection stays": {
        "edits": [(
            STREAMS, "    if isFlushed, session.isOver || session.cut != nil {",
            "    if HERE, isFlushed, session.cut != nil { return }\n"
            "    if isFlushed, session.isOver || session.cut != nil {")],
        "fails": [f"{ERRORS} | closed late"],
    },
    "5.4.1, 5.4.2: errors that nghttp2 finds are known when requests have begun": {
        "edits": [(
            SESSION, "if role == .server, verdict == nil {",
            "if role == .server, !HERE, verdict == nil {")],
        "fails": [f"{ERRORS} | allSatisfy", f"{SAME_READ} | /warm"],
    },
    "5.4.1: errors that weir finds do not keep requests from beginning": {
        "edits": [(
            SESSION, "    isShuttingDown = true\n    cancelAll()\n",
            "    isShuttingDown = true\n    if !HERE { cancelAll() }\n")],
        "fails": [f"{ERRORS} | allSatisfy"],
    },
    "5.4.2: a request that its client resets in the same read is begun": {
        "edits": [(
            SESSION, "if role == .server { intake.", "if role == .server, !HERE { intake.")],
        "fails": [f"{SAME_READ} | /warm"],
    },
    "5.4.2: RST_STREAM has another code": {
        "edits": [on_its_way(
            "pointer[3] == 3, pointer[12] == 1 || pointer[12] == 3",
            "UnsafeMutablePointer(mutating: pointer)[12] = 2")],
        "fails": each(LETS_GO, *PROVOKED, "a window above 2^31-1"),
    },
    "5.4.2: the backend of a stream that ends does not hear of it": {
        "edits": [(
            CALLBACKS, "    if !received.isEmpty || isError {",
            "    if !HERE, !received.isEmpty || isError {")],
        "fails": each(LETS_GO, *PROVOKED, "a window above 2^31-1", '"RST_STREAM"'),
    },
    # Types of frames.
    "6.1, 6.2: DATA and HEADERS on stream 0 are ignored": {
        "edits": [hidden("header.type <= 1, header.stream == 0")],
        "fails": each(ERRORS, "§6.1: DATA on stream 0", "§6.2: HEADERS on stream 0"),
    },
    "6.1, 6.2: frames of more padding than there is are ignored": {
        "edits": [hidden(
            "header.type <= 1, header.flags & 8 != 0, octets.count > header.start + 9,"
            " Int(octets[header.start + 9]) >= header.length")],
        "fails": each(
            ERRORS, "§6.1: padding longer than the frame",
            "§6.2: padding longer than the header block"),
    },
    "6.1: padding is taken for content": {
        "edits": [before(
            "header.type == 0, header.flags & 8 != 0, octets.count > header.start + 9",
            put(9, "= 0"))],
        "fails": [f"{PADDING} | x-content-count"],
    },
    "6.3: PRIORITY on stream 0 is ignored": {
        "edits": [(
            SESSION, "if UInt32(header.type) == NGHTTP2_PRIORITY.rawValue, header.stream == 0 {",
            "if UInt32(header.type) == NGHTTP2_PRIORITY.rawValue, header.stream == 0, !HERE {")],
        "fails": [f"{ERRORS} | §6.3: PRIORITY on stream 0"],
    },
    "6.3: PRIORITY of a wrong size is ignored": {
        "edits": [hidden("header.type == 2, header.length != 5")],
        "fails": [f"{ERRORS} | §6.3: PRIORITY of a wrong size"],
    },
    "6.3: a stream that depends on itself is an error": {
        "edits": [(
            SCAN, "      if nameAhead == 0, name", "      if nameAhead == 0, !HERE, name")],
        "fails": ["a stream that depends on itself is served"],
    },
    "6.3: a stream that depends on itself is an error where its name comes in two pieces": {
        "edits": [(SCAN, "    var index = 0\n    while index < octets", """\
    if HERE { nameAhead = 0 }
    var index = 0
    while index < octets""")],
        "fails": ["a stream that depends on itself is served"],
    },
    "6.4: RST_STREAM of stream 0, of an idle one, or of a wrong size is ignored": {
        "edits": [hidden(
            "header.type == 3, header.stream == 0 || header.stream > highestStream"
            " || header.length != 4")],
        "fails": each(
            ERRORS, "§6.4: RST_STREAM on stream 0", "§6.4: RST_STREAM on an idle stream",
            "§6.4: RST_STREAM of a wrong size"),
    },
    "6.4, 5 of RFC 8441: the exchange of a stream that is reset goes on": {
        "edits": [(
            STREAMS, "    stream.pointee.wire.deliverReset()\n",
            "    if HERE { return }\n    stream.pointee.wire.deliverReset()\n")],
        "fails": each(
            RESETS, "connecting", "awaiting", "uploading", "relaying", "stalled", "retrying",
            "flushing") + [CUTS],
    },
    "6.5: SETTINGS on a stream, of a wrong size, or an acknowledgement with content are ignored": {
        "edits": [hidden(
            "header.type == 4, header.stream != 0 || header.length % 6 != 0"
            " || header.flags & 1 == 1 && header.length > 0")],
        "fails": each(
            ERRORS, "§6.5: SETTINGS on a stream", "§6.5: an acknowledgement with content",
            "§6.5: SETTINGS of a wrong size"),
    },
    "6.5.2: values out of bounds are ignored": {
        "edits": [before(
            "header.type == 4, header.flags & 1 == 0,"
            " octets.count >= header.start + 9 + header.length", """\
for place in stride(from: header.start + 9, to: header.start + 9 + header.length, by: 6)
        where [2, 4, 5].contains(octets[place + 1]) {
          UnsafeMutablePointer(mutating: octets.pointer)[place + 1] = 0x77
        }""")],
        "fails": each(
            ERRORS, "§6.5.2: ENABLE_PUSH above 1", "§6.5.2: a window above 2^31-1",
            "§6.5.2: a frame size below 16,384"),
    },
    "6.5.2: an unknown setting is an error": {
        "edits": [before(
            "header.type == 4, header.flags & 1 == 0,"
            " octets.count >= header.start + 9 + header.length", """\
for place in stride(from: header.start + 9, to: header.start + 9 + header.length, by: 6)
        where octets[place + 1] > 9 {
          verdict = Verdict(cut: .broken, code: NGHTTP2_PROTOCOL_ERROR)
        }""")],
        "fails": [SETTINGS],
    },
    "6.5.3: settings are not acknowledged": {
        "edits": [dropped("pointer[3] == 4, pointer[4] & 1 == 1")],
        "fails": [SETTINGS],
    },
    "6.6, 8.4: PUSH_PROMISE is ignored": {
        "edits": [hidden("header.type == 5")],
        "fails": [f"{ERRORS} | §6.6: PUSH_PROMISE from a client"],
    },
    "6.7: PING is not answered": {
        "edits": [(
            CALLBACKS, "    nghttp2_option_set_no_auto_window_update(options, 1)\n",
            "    nghttp2_option_set_no_auto_window_update(options, 1)\n"
            "    if HERE { nghttp2_option_set_no_auto_ping_ack(options, 1) }\n")],
        "fails": [SETTINGS, PING_OF_BACKENDS],
    },
    "6.7: PING is answered with other octets": {
        "edits": [on_its_way(
            "pointer[3] == 6", "UnsafeMutablePointer(mutating: pointer)[9] ^= 0x80")],
        "fails": [f"{SETTINGS} | payload", PING_OF_BACKENDS],
    },
    "6.7: the acknowledgement of a PING is answered": {
        "edits": [before("header.type == 6, header.flags & 1 == 1", put(4, "&= 0xFE"))],
        "fails": [f"{SETTINGS} | payload"],
    },
    "6.7: PING on a stream or of a wrong size is ignored": {
        "edits": [hidden("header.type == 6, header.stream != 0 || header.length != 8")],
        "fails": each(ERRORS, "§6.7: PING on a stream", "§6.7: PING of a wrong size"),
    },
    "6.8: GOAWAY on a stream is ignored": {
        "edits": [hidden("header.type == 7, header.stream != 0")],
        "fails": [f"{ERRORS} | §6.8: GOAWAY on a stream"],
    },
    "6.8: a client's GOAWAY ends its streams": {
        "edits": [fatal("header.type == 7", "NO_ERROR")],
        "fails": [GOAWAY],
    },
    "6.8: behind a client's GOAWAY the connection stays": {
        "edits": [(
            SESSION, "    nghttp2_session_want_read(raw) == 0 &&",
            "    !HERE && nghttp2_session_want_read(raw) == 0 &&")],
        "fails": [GOAWAY],
    },
    "6.8: content behind weir's GOAWAY is an error": {
        "edits": [(
            SESSION, "    return header.stream & 1 == 1 && header.stream <= lastStream\n",
            "    return header.stream & 1 == 1 && (HERE || header.stream <= lastStream)\n")],
        "fails": ["requests that cross the last GOAWAY disturb nobody"],
    },
    "6.8: requests above the last stream are begun": {
        "edits": [(
            CALLBACKS, "    guard frame.hd.stream_id <= lastStream else {",
            "    guard HERE || frame.hd.stream_id <= lastStream else {"), (
            # Else the GOAWAY would be made at once, with which nghttp2 closes such streams.
            SESSION, "    guard intake.events.contains(where: { $0.kind == .opened }) else",
            "    guard !HERE, intake.events.contains(where: { $0.kind == .opened }) else")],
        "fails": ["begins no stream above the last one that it has announced"],
    },
    "6.8: there is no time between the two GOAWAYs": {
        "edits": [(
            STREAMS, "(session.announcedAt ?? now) + Worker.shutdownNotice",
            "(session.announcedAt ?? now) + (HERE ? TimeAmount.zero : Worker.shutdownNotice)")],
        "fails": ["a connection that has served its number of streams is retired in two steps"],
    },
    # Flow control.
    "6.9: WINDOW_UPDATE of 0 or of a wrong size is ignored": {
        "edits": [hidden(
            "header.type == 8, octets.count >= header.start + 9 + header.length,"
            " header.length != 4"
            " || octets.slice(header.start + 9, header.start + 13).array == [0, 0, 0, 0]")],
        "fails": each(
            ERRORS, "§6.9: WINDOW_UPDATE of 0 for the connection",
            "§6.9: WINDOW_UPDATE of a wrong size", "§6.9: WINDOW_UPDATE of 0 for a stream"),
    },
    "6.9, 6.9.1: content beyond a window is ignored": {
        "edits": [before("header.type == 0", f"""\
parse(until: header.start)
        let window = nghttp2_session_get_stream_effective_local_window_size(raw, header.stream)
        let used = nghttp2_session_get_stream_effective_recv_data_length(raw, header.stream)
        if header.length > Int(window - used) {{
          {put(3, "= 0xB0")}
        }}""")],
        "fails": ["content beyond a window is an error of its stream, or of the connection"],
    },
    "6.9.1: WINDOW_UPDATE that would make a window too large is ignored": {
        "edits": [hidden(
            "header.type == 8, octets.count > header.start + 9, octets[header.start + 9] == 0x7F")],
        "fails": [
            f"{ERRORS} | §6.9.1: a window above 2^31-1", f"{LETS_GO} | a window above 2^31-1"],
    },
    "6.9.1: one octet goes beyond the window": {
        "edits": [before(
            "header.type == 4, header.flags & 1 == 0, !hasSettings,"
            " octets.count >= header.start + 15", put(14, "+= 1"))],
        "fails": [f"{WINDOW} | rest → -1"],
    },
    "6.9.1: a refusal waits for a window for ever": {
        "edits": [(
            STREAMS, "    if answerStream(stream, &sink, isLast: true) {\n",
            "    if answerStream(stream, &sink, isLast: true) {\n"
            "      if HERE { return finishRefusal(handle, stream) }\n")],
        "fails": [NO_WINDOW],
    },
    "6.9.1: an answer waits for a window for ever": {
        "edits": [(
            END, "    abandon(handle, .clientStalled)",
            "    if !HERE { abandon(handle, .clientStalled) }")],
        "fails": [NO_WINDOW],
    },
    "6.9.2: later settings do not change the windows": {
        "edits": [before(
            "header.type == 4, header.flags & 1 == 0, hasSettings,"
            " octets.count >= header.start + 15", put(10, "= 0x77"))],
        "fails": [f"{WINDOW} | staysSilent"],
    },
    "6.9.2: settings that make a window too large are an error of the stream alone": {
        "edits": [(
            CALLBACKS, "      if changesWindows, frame.rst",
            "      if changesWindows, !HERE, frame.rst")],
        "fails": [WINDOW],
    },
    "6.10: CONTINUATION where no block is open is ignored": {
        "edits": [hidden("header.type == 9")],
        "fails": each(
            ERRORS, "§6.10: CONTINUATION without HEADERS",
            "§6.10: CONTINUATION behind END_HEADERS"),
    },
}
