import Daemon
import Glibc
import HTTP
import HTTP1
import Primitives
import Synchronization
import Transport

/// A small HTTP server on a loopback port of its own that says who it is: what the demo's proxy has
/// behind it. A thread for each connection; simple, because nothing depends on its speed.
final class SampleBackend: Sendable {
  private static let backlog = 256
  private static let maxConnections = 512

  let name: String
  let port: UInt16
  private let listener: Listener
  private let connections = Atomic<Int>(0)

  /// Listens from now on; answers after `start`.
  init(name: String) throws(ListenError) {
    self.name = name
    listener = try Listener(
      Endpoint(.ip(IPAddress(v4: 0x7F00_0001), port: 0)), backlog: SampleBackend.backlog,
      sharesPort: false)
    var bound = sockaddr_in()
    var length = socklen_t(MemoryLayout<sockaddr_in>.size)
    let descriptor = listener.descriptor
    _ = withUnsafeMutablePointer(to: &bound) { pointer in
      pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
        getsockname(descriptor, $0, &length)
      }
    }
    port = UInt16(bigEndian: bound.sin_port)
  }

  /// Serves on threads that end with the process.
  func start() {
    pthread_detach(Thread.start(name: "sample-\(name)") { self.acceptForever() })
  }

  private func acceptForever() {
    while true {
      var wanted = pollfd(fd: listener.descriptor, events: Int16(POLLIN), revents: 0)
      _ = poll(&wanted, 1, -1)
      guard case .connection(let accepted) = listener.accept() else {
        // Out of descriptors, most likely: a moment later there may be some.
        usleep(10_000)
        continue
      }
      let socket = accepted.descriptor
      guard connections.load(ordering: .relaxed) < SampleBackend.maxConnections else {
        SocketCalls.close(socket)
        continue
      }
      connections.add(1, ordering: .relaxed)
      pthread_detach(
        Thread.start(name: "sample-\(name)") {
          SampleConversation(self.name, BlockingSocket(descriptor: socket)).run()
          self.connections.subtract(1, ordering: .relaxed)
        })
    }
  }
}

/// One connection to a sample backend: requests one after the other, until either side ends it.
private final class SampleConversation {
  /// Longer than the proxy keeps an unused connection, so that the proxy closes first.
  private static let idleTime = TimeAmount.seconds(60)
  private static let transferTime = TimeAmount.seconds(600)
  private static let maxUploadBytes = 1 << 40

  private let name: String
  private let socket: BlockingSocket
  private var head = RequestHead()
  private var input: [UInt8] = []

  init(_ name: String, _ socket: BlockingSocket) {
    self.name = name
    self.socket = socket
  }

  func run() {
    do throws(HeadFault) {
      while let request = try nextRequest() {
        guard let length = try contentLength(of: request) else { return }
        let page = SamplePage(request, contentBytes: length, backend: name)
        guard send(page, to: request), request.wantsKeepAlive else { return }
      }
    } catch {
      let text = "HTTP/1.1 \(error.status) \(StatusText.reason(error.status))\r\n"
      _ = socket.send(
        Array("\(text)Content-Length: 0\r\nConnection: close\r\n\r\n".utf8), until: deadline())
    }
  }

  private func deadline() -> MonotonicTime {
    MonotonicTime.now() + SampleConversation.transferTime
  }

  /// `nil` at the connection's end.
  private func nextRequest() throws(HeadFault) -> SampleRequest? {
    let idleEnd = MonotonicTime.now() + SampleConversation.idleTime
    while true {
      let length = try input.withUnsafeMutableBufferPointer {
        (bytes) throws(HeadFault) -> Int in
        guard let base = bytes.baseAddress else { return 0 }
        return try HeadParser.parseRequest(
          ByteView(base: base, count: bytes.count), into: &head, limits: HeadLimits())
      }
      if length > 0 {
        let request = SampleRequest(head)
        input.removeFirst(length)
        return request
      }
      guard socket.receive(into: &input, until: idleEnd) else { return nil }
    }
  }

  /// Reads the content to its end; `nil` where the connection ended before.
  private func contentLength(of request: SampleRequest) throws(HeadFault) -> Int? {
    if request.expectsContinue {
      _ = socket.send(Array("HTTP/1.1 100 Continue\r\n\r\n".utf8), until: deadline())
    }
    var reader = ContentReader(
      request.framing, limits: HeadLimits(), maxBytes: SampleConversation.maxUploadBytes)
    while try !reader.consume(&input) {
      guard socket.receive(into: &input, until: deadline()) else { return nil }
    }
    return reader.total
  }

  private func send(_ page: SamplePage, to request: SampleRequest) -> Bool {
    if page.delayMs > 0 { usleep(UInt32(page.delayMs) * 1000) }
    var head = "HTTP/1.1 \(page.status) \(StatusText.reason(page.status))\r\n"
    head += "Server: sample-\(name)\r\nContent-Type: \(page.contentType)\r\n"
    head += "Content-Length: \(page.text.utf8.count + page.fillBytes)\r\n"
    if !request.wantsKeepAlive { head += "Connection: close\r\n" }
    let start = "\(head)\r\n\(request.isHead ? "" : page.text)"
    guard socket.send(Array(start.utf8), until: deadline()) else { return false }
    var left = request.isHead ? 0 : page.fillBytes
    let block = [UInt8](repeating: UInt8(ascii: "."), count: min(left, 64 * 1024))
    while left > 0 {
      let part = left < block.count ? Array(block[..<left]) : block
      guard socket.send(part, until: deadline()) else { return false }
      left -= part.count
    }
    return true
  }
}

/// What a sample backend needs to know of a request, once its octets are gone.
private struct SampleRequest {
  let line: String
  let path: String
  let isHead: Bool
  let framing: BodyFraming
  let wantsKeepAlive: Bool
  let expectsContinue: Bool
  /// Field lines as received.
  let fields: [String]
  private let query: String

  init(_ head: borrowing RequestHead) {
    line = "\(head.methodName.string) \(head.target.string)"
    path = head.routingPath.string
    query = head.query.string
    isHead = head.method == .head
    framing = head.framing
    wantsKeepAlive = head.wantsKeepAlive && head.version == .http11
    expectsContinue = head.expectsContinue
    var fields: [String] = []
    for index in 0..<head.fields.count {
      let line = head.bytes.slice(head.fields[index].lineRange)
      fields.append(line.slice(0, line.count - 2).string)
    }
    self.fields = fields
  }

  /// `NAME=NUMBER` of the query, held within `range`.
  func number(_ name: String, in range: ClosedRange<Int>) -> Int? {
    for pair in query.split(separator: "&") where pair.hasPrefix("\(name)=") {
      guard let value = Int(pair.dropFirst(name.count + 1)) else { return nil }
      return min(max(value, range.lowerBound), range.upperBound)
    }
    return nil
  }
}

/// What a sample backend answers.
private struct SamplePage {
  var status = 200
  var contentType = "text/plain; charset=utf-8"
  var text = ""
  /// Octets that follow the text.
  var fillBytes = 0
  var delayMs = 0

  init(_ request: SampleRequest, contentBytes: Int, backend: String) {
    switch request.path {
    case "/bytes":
      contentType = "application/octet-stream"
      fillBytes = request.number("n", in: 0...(1 << 34)) ?? 1024
      return
    case "/slow": delayMs = request.number("ms", in: 0...60_000) ?? 1000
    case "/fail": status = request.number("status", in: 200...599) ?? 503
    default: break
    }
    text = "backend \(backend) answers \(status) to: \(request.line)\n"
    if contentBytes > 0 { text += "with \(contentBytes) octets of content\n" }
    if request.path == "/" || request.path == "/headers" {
      text += "\nIt was sent these fields:\n"
      for field in request.fields { text += "  \(field)\n" }
    }
  }
}
