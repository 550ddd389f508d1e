import HTTP
import HTTP2
import Primitives
import Testing

/// The client's side of a connection, against the server's side in memory and against octets that
/// no server of ours would send.
@Suite struct `A session with a backend` {
  private final class Content: StreamSource {
    var octets: [UInt8] = []
    var trailers: [UInt8] = []

    func readContent(
      of owner: UInt64, into target: UnsafeMutablePointer<UInt8>, room: Int
    ) -> ContentPiece {
      let piece = octets.prefix(room)
      for (index, octet) in piece.enumerated() { target[index] = octet }
      octets.removeFirst(piece.count)
      return ContentPiece(
        count: piece.count, isLast: octets.isEmpty, hasTrailers: !trailers.isEmpty)
    }

    func hasOnlyTrailers(of owner: UInt64) -> Bool { false }
    func readTrailers(of owner: UInt64, into sink: inout ByteSink) { sink.append(trailers) }
  }

  private let intake = Intake()
  private let content = Content()

  private func client() throws -> Session {
    try #require(
      Session(role: .client, intake: intake, source: content, limits: HeadLimits(), now: .zero))
  }

  private func due(_ session: Session) -> [UInt8] {
    var octets: [UInt8] = []
    while true {
      let next = session.nextOctets()
      if next.isEmpty { return octets }
      octets += next.array
    }
  }

  /// Submits a request with this head; its name fields are lower case afterwards.
  private func submit(
    _ session: Session, _ head: String = "GET / HTTP/1.1\r\nHost: a\r\n\r\n", ends: Bool = true
  ) -> Int32? {
    Array(head.utf8).withByteView {
      session.submitRequest(head: $0, isSecure: true, owner: 7, endsStream: ends)
    }
  }

  private func frame(
    _ type: UInt8, _ flags: UInt8, _ stream: UInt8, _ payload: [UInt8] = []
  ) -> [UInt8] {
    let size = payload.count
    let header: [UInt8] = [0, UInt8(size >> 8), UInt8(size & 255), type, flags, 0, 0, 0, stream]
    return header + payload
  }

  /// Fields without compression (RFC 7541 §6.2.2).
  private func block(_ fields: [(String, String)]) -> [UInt8] {
    var octets: [UInt8] = []
    for (name, value) in fields {
      octets += [0, UInt8(name.utf8.count)]
      octets += name.utf8
      octets.append(UInt8(value.utf8.count))
      octets += value.utf8
    }
    return octets
  }

  private func receive(_ session: Session, _ octets: [UInt8]) -> [SessionEvent] {
    octets.withByteView { _ = session.receive($0, now: .zero) }
    return intake.events.filter { $0.kind != .settled }
  }

  private func text(_ event: SessionEvent) -> String { intake.head(event).string }

  @Test func `what it sends is what a server reads`() throws {
    let session = try client()
    content.octets = Array("body".utf8)
    content.trailers = Array("X-Sum: 4\r\n".utf8)
    let head =
      "POST /a?b HTTP/1.1\r\nHost: a.example\r\nX-A:  b \r\nConnection: TE\r\nTE: trailers\r\n"
      + "Transfer-Encoding: chunked\r\n\r\n"
    let stream = submit(session, head, ends: false)
    #expect(stream == 1 && session.isUnsent(1))
    let octets = due(session)
    #expect(!session.isUnsent(1))
    let server = try #require(
      Session(intake: intake, source: content, limits: HeadLimits(), now: .zero))
    let events = receive(server, octets)
    #expect(events.map(\.kind) == [.opened, .data, .trailers, .ended])
    let opened = try #require(events.first)
    #expect(
      text(opened) == "POST /a?b HTTP/1.1\r\nhost: a.example\r\nx-a: b\r\nte: trailers\r\n"
        + "transfer-encoding: chunked\r\n\r\n")
    #expect(text(events[2]) == "x-sum: 4\r\n\r\n")
  }

  @Test func `answers become heads of HTTP/1.1, in whatever pieces they come`() throws {
    var answer = frame(4, 0, 0)
    answer += frame(1, 4, 1, block([(":status", "103"), ("link", "<a>")]))
    answer += frame(1, 4, 1, block([(":status", "200"), ("content-length", "2")]))
    answer += frame(0, 0, 1, [65, 66])
    answer += frame(1, 5, 1, block([("x-sum", "2")]))
    for cut in 0...answer.count {
      let session = try client()
      _ = submit(session)
      _ = due(session)
      var heads: [String] = []
      var kinds: [SessionEvent.Kind] = []
      for piece in [Array(answer[..<cut]), Array(answer[cut...])] {
        for event in receive(session, piece) {
          kinds.append(event.kind)
          #expect(event.owner == 7)
          if event.kind == .responded || event.kind == .trailers { heads.append(text(event)) }
        }
      }
      #expect(
        heads == [
          "HTTP/1.1 103 Status\r\nlink: <a>\r\n\r\n",
          "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n", "x-sum: 2\r\n\r\n",
        ], "cut at \(cut)")
      #expect(Set(kinds) == [.responded, .data, .trailers, .ended, .reset])
    }
  }

  @Test func `a backend's limit of streams is kept, and a GOAWAY ends them`() throws {
    let session = try client()
    #expect(session.roomForStreams(limit: 1000) == Session.streamsBeforeSettings)
    _ = submit(session)
    _ = due(session)
    _ = receive(session, frame(4, 0, 0, [0, 3, 0, 0, 0, 5]))
    #expect(session.roomForStreams(limit: 1000) == 4 && session.roomForStreams(limit: 2) == 1)
    let events = receive(session, frame(7, 0, 0, [0, 0, 0, 0, 0, 0, 0, 0]))
    #expect(events.map(\.kind) == [.goingAway, .reset])
    #expect(events.allSatisfy { $0.kind == .goingAway || $0.isRefused })
    #expect(session.roomForStreams(limit: 1000) == 0 && !session.takesStreams)
  }

  @Test func `only a backend's own refusal counts as one`() throws {
    for (code, isRefused) in [(UInt8(7), true), (8, false), (1, false)] {
      let session = try client()
      _ = submit(session)
      _ = due(session)
      let events = receive(session, frame(4, 0, 0) + frame(3, 0, 1, [0, 0, 0, code]))
      #expect(events.map(\.kind) == [.reset] && events.first?.isRefused == isRefused)
      #expect(events.first?.isOurs == false)
    }
  }

  @Test func `nothing can be pushed`() throws {
    let session = try client()
    _ = submit(session)
    _ = due(session)
    let promise = frame(5, 4, 1, [0, 0, 0, 2] + block([(":method", "GET"), (":path", "/")]))
    let events = receive(session, frame(4, 0, 0) + frame(4, 1, 0) + promise)
    #expect(events.allSatisfy { $0.kind == .reset || $0.kind == .void })
    let answer = due(session)
    #expect(answer.count > 17 && session.cut == .broken)
  }

  @Test(arguments: [
    [UInt8(0), 0, 0, 200, 0, 0, 0, 0, 0], [0, 0, 0, 4, 0, 0, 0, 0, 0],
    [0, 0, 8, 6, 0, 0, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8],
    [0, 0, 4, 8, 0, 0, 0, 0, 0, 0, 0, 0, 1], [0, 0, 0, 0, 0, 0, 0, 0, 1],
    [0, 0, 4, 3, 0, 0, 0, 0, 9, 0, 0, 0, 8],
  ])
  func `frames that mean nothing are cut within some hundred`(_ flood: [UInt8]) throws {
    let session = try client()
    _ = submit(session)
    _ = due(session)
    _ = receive(session, frame(4, 0, 0) + frame(1, 4, 1, block([(":status", "200")])))
    var count = 0
    while session.cut == nil, count < 1000 {
      _ = receive(session, flood)
      _ = due(session)
      count += 1
    }
    #expect(session.cut != nil && count < 200, "\(count)")
  }
}
