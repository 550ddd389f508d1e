import HTTP
import Primitives
import Resilience
import Testing

@testable import Proxy

/// The pure half of `health-check grpc`: what is asked, and which answers pass.
@Suite struct `The answer to a gRPC health check` {
  private static let head =
    "HTTP/1.1 200 OK\r\ncontent-type: application/grpc\r\n\r\n"
  private static let fine = "grpc-status: 0\r\n\r\n"

  /// The verdict at the first part that decides; `content` comes in pieces of `step` octets.
  private func verdict(
    head text: String = Self.head, content: [UInt8] = [], trailers: String = Self.fine,
    step: Int = .max
  ) -> CheckAnswer.Verdict {
    var answer = GRPCAnswer()
    var head = ResponseHead()
    var verdict = Array(text.utf8).withByteView {
      answer.responded($0, endsStream: false, &head)
    }
    var rest = content[...]
    while verdict == .needsMore, !rest.isEmpty {
      verdict = Array(rest.prefix(step)).withByteView { answer.received($0) }
      rest = rest.dropFirst(step)
    }
    guard verdict == .needsMore else { return verdict }
    return Array(trailers.utf8).withByteView { answer.ended($0, &head) }
  }

  private static func framed(_ message: [UInt8], flag: UInt8 = 0) -> [UInt8] {
    [flag, 0, 0, UInt8(message.count >> 8), UInt8(message.count & 0xFF)] + message
  }

  @Test func `passes with SERVING, however it is cut`() {
    let content = Self.framed([0x08, 0x01])
    for step in 1...content.count {
      #expect(verdict(content: content, step: step) == .passed, "\(step)")
    }
  }

  @Test(
    arguments: [
      ([], 0), ([0x08, 0x00], 0), ([0x08, 0x02], 2), ([0x08, 0x03], 3), ([0x08, 0x80, 0x01], 128),
      ([0x08, 0x01, 0x08, 0x02], 2),
    ] as [([UInt8], UInt64)])
  func `fails with every other status`(message: [UInt8], status: UInt64) {
    #expect(verdict(content: Self.framed(message)) == .failed(.notServing(status)))
  }

  @Test func `has room for what the protocol may get later`() {
    for later: [UInt8] in [
      [0x10, 0x05], [0x12, 0x02, 0x08, 0x02], [0x19, 1, 2, 3, 4, 5, 6, 7, 8], [0x1D, 1, 2, 3, 4],
    ] {
      #expect(verdict(content: Self.framed(later + [0x08, 0x01])) == .passed, "\(later)")
      #expect(verdict(content: Self.framed([0x08, 0x01] + later)) == .passed, "\(later)")
      // Each of them cut anywhere is no message.
      for count in 1..<later.count {
        #expect(
          verdict(content: Self.framed([0x08, 0x01] + later.prefix(count))) == .failed(.notGRPC),
          "\(later) at \(count)")
      }
    }
  }

  @Test(
    arguments: [
      // A varint without an end, one of more than 64 bits, and one of more than ten octets.
      [0x08], [0x08, 0x80], [0x08] + [UInt8](repeating: 0xFF, count: 9) + [0x02],
      [0x08] + [UInt8](repeating: 0x80, count: 10) + [0x01],
      // The status as something else, field 0, and wire types that there are not.
      [0x0A, 0x01, 0x01], [0x00, 0x01], [0x13, 0x14], [0x16], [0x17],
      // A length beyond the end, up to the largest.
      [0x12, 0x05, 0x00], [0x12] + [UInt8](repeating: 0xFF, count: 9) + [0x01],
    ] as [[UInt8]])
  func `is none where the message is malformed`(message: [UInt8]) {
    #expect(verdict(content: Self.framed(message)) == .failed(.notGRPC))
  }

  @Test func `is one message of a bounded size, not compressed`() {
    let good = Self.framed([0x08, 0x01])
    #expect(verdict(content: []) == .failed(.notGRPC))
    #expect(verdict(content: Array(good.dropLast())) == .failed(.notGRPC))
    #expect(verdict(content: good + [0]) == .failed(.notGRPC))
    #expect(verdict(content: good + good) == .failed(.notGRPC))
    #expect(verdict(content: Self.framed([0x08, 0x01], flag: 1)) == .failed(.notGRPC))
    // 1,024 octets are not too many: a status, and a field of 1,019 behind its own three octets.
    let large: [UInt8] = [0x08, 0x01, 0x12, 0xFB, 0x07] + [UInt8](repeating: 0, count: 1019)
    #expect(large.count == GRPCAnswer.maxMessageBytes)
    #expect(verdict(content: Self.framed(large)) == .passed)
    #expect(verdict(content: Self.framed(large + [0])) == .failed(.oversized))
    // Known by the prefix alone.
    #expect(verdict(content: [0, 0xFF, 0xFF, 0xFF, 0xFF], step: 1) == .failed(.oversized))
  }

  @Test(
    arguments: [
      // `1*DIGIT`: zeros before it are lawful.
      ("grpc-status: 000\r\n\r\n", .passed),
      ("grpc-status: 0\r\n\r\n", .passed), ("Grpc-Status: 0\r\ngrpc-message: x\r\n\r\n", .passed),
      ("grpc-status: 5\r\n\r\n", .failed(.grpcStatus(5))),
      ("grpc-status: 999\r\n\r\n", .failed(.grpcStatus(999))),
      ("grpc-status: 1000\r\n\r\n", .failed(.notGRPC)), ("\r\n", .failed(.notGRPC)),
      ("grpc-status: OK\r\n\r\n", .failed(.notGRPC)), ("grpc-status:\r\n\r\n", .failed(.notGRPC)),
      ("grpc-status: -0\r\n\r\n", .failed(.notGRPC)),
      ("grpc-status: 0\r\ngrpc-status: 0\r\n\r\n", .failed(.notGRPC)),
    ] as [(String, CheckAnswer.Verdict)])
  func `needs a grpc-status of 0`(trailers: String, expected: CheckAnswer.Verdict) {
    #expect(verdict(content: Self.framed([0x08, 0x01]), trailers: trailers) == expected)
  }

  @Test(
    arguments: [
      ("503 X\r\ncontent-type: application/grpc", .failed(.status(503))),
      ("204 X\r\ncontent-type: application/grpc", .failed(.status(204))),
      ("200 X", .failed(.notGRPC)), ("200 X\r\ncontent-type: text/html", .failed(.notGRPC)),
      ("200 X\r\ncontent-type: application/grpc-web", .failed(.notGRPC)),
      ("200 X\r\ncontent-type: application/grpc+proto", .passed),
      ("200 X\r\ncontent-type: Application/gRPC;a=b", .passed),
    ] as [(String, CheckAnswer.Verdict)])
  func `has the head of one`(head: String, expected: CheckAnswer.Verdict) {
    let answer = verdict(head: "HTTP/1.1 \(head)\r\n\r\n", content: Self.framed([0x08, 0x01]))
    #expect(answer == expected)
  }

  @Test func `may be a head alone, which never passes`() {
    for (status, expected) in [
      ("grpc-status: 12\r\n", CheckFailure.grpcStatus(12)), ("grpc-status: 0\r\n", .notGRPC),
      ("", .notGRPC),
    ] {
      var head = ResponseHead()
      let octets = Array(Self.head.utf8.dropLast(2)) + Array("\(status)\r\n".utf8)
      let answer = octets.withByteView {
        GRPCAnswer().responded($0, endsStream: true, &head)
      }
      #expect(answer == .failed(expected))
    }
  }

  @Test func `is asked for in the protocol's own form`() {
    var check = GRPCCheck()
    func request() -> String {
      String(
        decoding: GRPCAnswer.request(check, authority: "10.0.0.1:80", timeout: .milliseconds(500)),
        as: UTF8.self)
    }
    #expect(
      request() == "POST /grpc.health.v1.Health/Check HTTP/1.1\r\nHost: 10.0.0.1:80\r\n"
        + "Content-Type: application/grpc\r\nTE: trailers\r\ngrpc-timeout: 500m\r\n"
        + "User-Agent: weir-health-check\r\n\r\n")
    check.host = "a.example"
    check.fields = [.init(name: "user-agent", value: "x")]
    #expect(request().contains("\r\nHost: a.example\r\n") && !request().contains("weir"))
    #expect(GRPCAnswer.message(service: "") == [0, 0, 0, 0, 0])
    #expect(GRPCAnswer.message(service: "a.B") == [0, 0, 0, 0, 5, 0x0A, 3] + Array("a.B".utf8))
    // A name whose length takes two octets.
    let long = GRPCAnswer.message(service: String(repeating: "x", count: 300))
    #expect(long.prefix(8) == [0, 0, 0, 0x01, 0x2F, 0x0A, 0xAC, 0x02] && long.count == 308)
  }

  @Test func `failures have names`() {
    #expect(CheckFailure.grpcStatus(12).text == "grpc-status 12 (UNIMPLEMENTED)")
    #expect(CheckFailure.grpcStatus(77).text == "grpc-status 77")
    #expect(CheckFailure.notServing(2).text == "serving status 2 (NOT_SERVING)")
    #expect(CheckFailure.notServing(.max).text == "serving status \(UInt64.max)")
  }
}
