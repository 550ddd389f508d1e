import Admin
import HTTP
import HTTP1
import Primitives

/// Asks a running daemon's admin endpoint: one connection for each request.
struct AdminClient {
  /// What came back, whole.
  struct Answer {
    var status: Int
    var body: [UInt8]

    var text: String { String(decoding: body, as: UTF8.self) }
  }

  /// Why there is no answer.
  struct Fault: Error {
    var message: String
  }

  private static let connectTime = TimeAmount.seconds(5)
  /// A reload reads files and compiles ten thousands of routes before it answers.
  private static let answerTime = TimeAmount.seconds(60)
  private static let maxAnswerBytes = 256 << 20

  let address: SocketAddress
  let token: String?

  func ask(
    _ method: String, _ path: String, _ content: [UInt8] = []
  ) throws(Fault) -> Answer {
    let socket: BlockingSocket
    do {
      socket = try BlockingSocket(to: address, within: AdminClient.connectTime)
    } catch { throw Fault(message: "cannot reach weir at \(address): \(error.reason)") }
    let deadline = MonotonicTime.now() + AdminClient.answerTime
    var request = "\(method) \(path) HTTP/1.1\r\nHost: weir\r\nConnection: close\r\n"
    if let token { request += "Authorization: Bearer \(token)\r\n" }
    if method != "GET" { request += "Content-Length: \(content.count)\r\n" }
    var bytes: [UInt8] = []
    guard socket.send(Array("\(request)\r\n".utf8) + content, until: deadline) else {
      throw Fault(message: "weir at \(address) takes no request")
    }
    while true {
      if let answer = try AdminClient.parse(bytes) { return answer }
      guard bytes.count < AdminClient.maxAnswerBytes,
        socket.receive(into: &bytes, until: deadline)
      else { throw Fault(message: "weir at \(address) gave no whole answer") }
    }
  }

  /// `nil` until the answer is complete.
  private static func parse(_ bytes: [UInt8]) throws(Fault) -> Answer? {
    var head = ResponseHead()
    var copy = bytes
    do throws(HeadFault) {
      let length = try copy.withUnsafeMutableBufferPointer {
        (buffer) throws(HeadFault) -> Int in
        guard let base = buffer.baseAddress else { return 0 }
        return try HeadParser.parseResponse(
          ByteView(base: base, count: buffer.count), into: &head, limits: HeadLimits(),
          isHead: false)
      }
      guard length > 0 else { return nil }
      var content = 0
      if case .length(let count) = head.framing { content = count }
      guard bytes.count >= length + content else { return nil }
      return Answer(status: head.status, body: Array(bytes[length..<length + content]))
    } catch { throw Fault(message: "that is no admin endpoint: \(error.reason)") }
  }
}
