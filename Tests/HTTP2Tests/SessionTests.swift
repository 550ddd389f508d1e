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
}
