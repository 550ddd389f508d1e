import HTTP
import HTTP2
import Primitives
import Testing

/// What the order of reading and writing decides, which no client can bring about at will.
@Suite struct `A session` {
  private final class Silent: StreamSource {
    func readContent(
      of owner: UInt64, into target: UnsafeMutablePointer<UInt8>, room: Int
    ) -> ContentPiece { ContentPiece(count: 0, isLast: true) }

    func hasOnlyTrailers(of owner: UInt64) -> Bool { false }
    func readTrailers(of owner: UInt64, into sink: inout ByteSink) {}
  }

  private func frame(_ type: UInt8, _ flags: UInt8, _ stream: UInt8, _ payload: [UInt8]) -> [UInt8]
  {
    [0, 0, UInt8(payload.count), type, flags, 0, 0, 0, stream] + payload
  }

  /// GET / of the authority "a", by the static table.
  private func request(_ stream: UInt8) -> [UInt8] {
    frame(1, 0x5, stream, [0x82, 0x86, 0x84, 0x01, 1, 97])
  }

  /// Streams that a reception opens.
  private func opened(_ session: Session, _ intake: Intake, _ octets: [UInt8]) -> [Int32] {
    octets.withByteView { _ = session.receive($0, now: .zero) }
    return intake.events.filter { $0.kind == .opened }.map(\.stream)
  }

  @Test func `begins no stream above the last one that it has announced`() throws {
    let intake = Intake()
    let source = Silent()
    let session = try #require(
      Session(intake: intake, source: source, limits: HeadLimits(), now: .zero))
    let start = Array("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".utf8) + frame(4, 0, 0, [])
    let first = opened(session, intake, start + request(1))
    #expect(first == [1])
    session.shutDown()
    // The GOAWAY is due and has not been made: nghttp2 would still take it.
    let second = opened(session, intake, request(3))
    #expect(second == [])
    withExtendedLifetime(source) {}
  }

  // MARK: Trailers

  /// Has what a test gives it, for streams known by their numbers.
  private final class Messages: StreamSource {
    var content: [UInt64: [UInt8]] = [:]
    /// Of those whose content has come to its end.
    var trailers: [UInt64: [UInt8]] = [:]

    func readContent(
      of owner: UInt64, into target: UnsafeMutablePointer<UInt8>, room: Int
    ) -> ContentPiece {
      let piece = content[owner, default: []].prefix(room)
      for (index, octet) in piece.enumerated() { target[index] = octet }
      content[owner, default: []].removeFirst(piece.count)
      let isLast = hasOnlyTrailers(of: owner)
      return ContentPiece(count: piece.count, isLast: isLast, hasTrailers: isLast)
    }

    func hasOnlyTrailers(of owner: UInt64) -> Bool {
      content[owner, default: []].isEmpty && trailers[owner] != nil
    }

    func readTrailers(of owner: UInt64, into sink: inout ByteSink) {
      if let lines = trailers.removeValue(forKey: owner) { sink.append(lines) }
    }
  }

  /// A server's side that has these streams, and has sent the heads of their answers.
  private func serving(
    _ streams: [UInt8], _ settings: [UInt8], _ source: StreamSource, _ intake: Intake
  ) throws -> Session {
    let session = try #require(
      Session(intake: intake, source: source, limits: HeadLimits(), now: .zero))
    let start = Array("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".utf8) + frame(4, 0, 0, settings)
    #expect(
      opened(session, intake, start + streams.flatMap { request($0) }) == streams.map { Int32($0) })
    for stream in streams {
      session.setOwner(Int32(stream), UInt64(stream))
      Array("HTTP/1.1 200 OK\r\n\r\n".utf8).withByteView {
        let isSent = session.submit(
          head: $0, stream: Int32(stream), isFinal: true, endsStream: false)
        #expect(isSent)
      }
    }
    #expect(frames(session).filter { $0.type == 1 }.count == streams.count)
    return session
  }

  private typealias Frame = (type: UInt8, flags: UInt8, stream: UInt8)

  /// All that is due.
  private func frames(_ session: Session) -> [Frame] {
    var frames: [Frame] = []
    while case let octets = session.nextOctets(), octets.count >= 9 {
      frames.append((octets[3], octets[4], octets[8]))
    }
    return frames
  }

  private func hasEnded(_ frames: [Frame], _ stream: UInt8) -> Bool {
    frames.contains { $0.type == 1 && $0.flags & 1 == 1 && $0.stream == stream }
  }

  /// There is window when they come, and another stream's content takes it.
  @Test func `needs no window for trailers that another stream has used`() throws {
    let (intake, source) = (Intake(), Messages())
    let session = try serving([1, 3], [], source, intake)
    source.content[1] = [UInt8](repeating: 97, count: 60_000)
    source.content[3] = Array("abcde".utf8)
    session.resume(1)
    session.resume(3)
    #expect(frames(session).count { $0.type == 0 } == 5)
    source.content[1] = [UInt8](repeating: 97, count: 16_000)
    session.resume(1)
    source.trailers[3] = Array("Grpc-Status: 0\r\n".utf8)
    session.resume(3)
    #expect(hasEnded(frames(session), 3))
    withExtendedLifetime(source) {}
  }
}
