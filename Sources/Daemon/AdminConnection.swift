import Admin
import Glibc
import HTTP
import HTTP1
import Primitives
import Transport

/// One connection to the admin endpoint, on the control thread.
///
///     head ──complete──► content ──complete──► answering ──sent──► head
///      │                    │                      │ the connection ends here
///      └──── at fault ──────┴──────► answering ────┴──► lingering ──► closed
///
/// The same strict parser as the data plane's (rule 56), one request at a time: what a client has
/// sent beyond it stays in the kernel or in `input`, both bounded.
final class AdminConnection {
  /// What the server has to do next.
  enum Step {
    case request(AdminRequest)
    /// Nothing, until the socket is ready or the deadline is over.
    case wait
    /// There is more to do, but others come first.
    case yield
    case close
  }

  private enum Phase {
    case head
    case content(AdminRequest, ContentReader)
    case answering
    case lingering
  }

  static let headTimeout = TimeAmount.seconds(10)
  static let contentTimeout = TimeAmount.seconds(10)
  static let sendTimeout = TimeAmount.seconds(10)
  /// For the client to read the answer before the connection is gone (rule 19).
  static let lingerTimeout = TimeAmount.seconds(1)
  static let maxContentBytes = 1 << 20
  private static let receiveBytes = 16 * 1024
  private static let room = [UInt8](repeating: 0, count: receiveBytes)
  /// System calls in one turn: the control thread has signals to obey as well.
  private static let callsPerTurn = 64

  let descriptor: Int32
  /// Required of every request on this listener.
  private let token: String?
  private let limits = HeadLimits()
  private var phase = Phase.head
  private var input: [UInt8] = []
  private var output: [UInt8] = []
  private var sentBytes = 0
  private var isHeadRequest = false
  private var closesAfterAnswer = false
  private(set) var deadline: MonotonicTime

  init(descriptor: Int32, token: String?, now: MonotonicTime) {
    self.descriptor = descriptor
    self.token = token
    deadline = now + AdminConnection.headTimeout
  }

  /// Between two requests, or before the first: what may be closed to make room.
  var isIdle: Bool {
    if case .head = phase { return true }
    return false
  }

  // MARK: Events

  /// Goes on as far as the socket allows. To be called when it is ready, and after `answer`.
  func advance(_ head: inout RequestHead, now: MonotonicTime) -> Step {
    for _ in 0..<AdminConnection.callsPerTurn {
      switch phase {
      case .head, .content:
        if let request = parse(&head, now) { return .request(request) }
        if case .answering = phase { continue }
        switch receive() {
        case .octets: continue
        case .wouldBlock: return .wait
        case .ended, .failed: return .close
        }
      case .answering:
        switch send(now) {
        case .octets: continue
        case .wouldBlock: return .wait
        case .failed: return .close
        }
      case .lingering:
        input.removeAll(keepingCapacity: true)
        switch receive() {
        case .octets: continue
        case .wouldBlock: return .wait
        case .ended, .failed: return .close
        }
      }
    }
    return .yield
  }

  /// The deadline is over. False where the connection has to be closed.
  func timedOut(now: MonotonicTime) -> Bool {
    switch phase {
    case .head where !input.isEmpty, .content:
      refuse(408, "the request took too long", now)
      return true
    default: return false
    }
  }

  // MARK: Receiving

  private func receive() -> ReceiveResult {
    let known = input.count
    input += AdminConnection.room
    let result = input.withUnsafeMutableBytes {
      SocketCalls.receive(descriptor, $0.baseAddress! + known, AdminConnection.receiveBytes)
    }
    var received = 0
    if case .octets(let count) = result { received = count }
    input.removeLast(AdminConnection.receiveBytes - received)
    return result
  }

  /// A request that is complete, or `nil` where more octets are needed or it was refused.
  private func parse(_ head: inout RequestHead, _ now: MonotonicTime) -> AdminRequest? {
    do throws(HeadFault) {
      if case .head = phase, !input.isEmpty { try parseHead(&head, now) }
      guard case .content(let request, var reader) = phase else { return nil }
      guard try reader.consume(&input) else {
        phase = .content(request, reader)
        return nil
      }
      phase = .answering
      var complete = request
      complete.content = reader.kept
      return complete
    } catch {
      refuse(error.status, "\(error.reason)", now)
      return nil
    }
  }

  private func parseHead(
    _ head: inout RequestHead, _ now: MonotonicTime
  ) throws(HeadFault) {
    var length = 0
    var fault: HeadFault?
    input.withUnsafeMutableBufferPointer { bytes in
      guard let base = bytes.baseAddress else { return }
      do throws(HeadFault) {
        length = try HeadParser.parseRequest(
          ByteView(base: base, count: bytes.count), into: &head, limits: limits)
        if length > 0 { begin(head, now) }
      } catch { fault = error }
    }
    if let fault { throw fault }
    input.removeFirst(length)
  }

  /// The head is complete and stands in `input`.
  private func begin(_ head: borrowing RequestHead, _ now: MonotonicTime) {
    isHeadRequest = head.method == .head
    closesAfterAnswer = !head.wantsKeepAlive || head.version == .http10
    let request = AdminRequest(head, token: token)
    if let refusal = AdminRoutes.refusal(request) {
      closesAfterAnswer = closesAfterAnswer || head.framing != .none
      answer(refusal, now)
      return
    }
    if case .length(let length) = head.framing, length > AdminConnection.maxContentBytes {
      refuse(413, "at most \(AdminConnection.maxContentBytes) octets are read here", now)
      return
    }
    if head.expectsContinue { output += Array("HTTP/1.1 100 Continue\r\n\r\n".utf8) }
    phase = .content(
      request,
      ContentReader(
        head.framing, limits: limits, maxBytes: AdminConnection.maxContentBytes,
        keeps: AdminRoutes.wantsContent(request)))
    deadline = now + AdminConnection.contentTimeout
    if head.expectsContinue { _ = send(now) }
  }

  // MARK: Answering

  func answer(_ response: AdminResponse, _ now: MonotonicTime) {
    var head = "HTTP/1.1 \(response.status) \(StatusText.reason(response.status))\r\n"
    head += "Date: \(AdminConnection.date())\r\n"
    head += "Content-Type: \(response.contentType)\r\n"
    head += "Content-Length: \(response.body.count)\r\n"
    head += "Cache-Control: no-store\r\n"
    for field in response.fields { head += "\(field.name): \(field.value)\r\n" }
    if closesAfterAnswer { head += "Connection: close\r\n" }
    output += Array("\(head)\r\n".utf8)
    if !isHeadRequest { output += response.body }
    phase = .answering
    deadline = now + AdminConnection.sendTimeout
  }

  /// Answers what is at fault; nothing behind it is read (rule 14).
  private func refuse(_ status: Int, _ detail: String, _ now: MonotonicTime) {
    closesAfterAnswer = true
    var response = AdminResponse.problem(status, detail)
    if status == 405 {
      response.fields.append(.init(name: "Allow", value: "GET, HEAD, POST, PATCH, PURGE"))
    }
    answer(response, now)
  }

  private func send(_ now: MonotonicTime) -> SendResult {
    let result = output.withUnsafeMutableBufferPointer { bytes in
      guard let base = bytes.baseAddress, sentBytes < bytes.count else {
        return SendResult.octets(0)
      }
      return SocketCalls.send(
        descriptor, ByteView(base: base + sentBytes, count: bytes.count - sentBytes))
    }
    guard case .octets(let count) = result else { return result }
    sentBytes += count
    guard sentBytes == output.count else {
      deadline = now + AdminConnection.sendTimeout
      return result
    }
    output = []
    sentBytes = 0
    if case .answering = phase { answered(now) }
    return result
  }

  private func answered(_ now: MonotonicTime) {
    isHeadRequest = false
    if closesAfterAnswer {
      SocketCalls.closeSending(descriptor)
      phase = .lingering
      deadline = now + AdminConnection.lingerTimeout
    } else {
      phase = .head
      deadline = now + AdminConnection.headTimeout
    }
  }

  private static func date() -> String {
    var bytes = [UInt8](repeating: 0, count: 32)
    return bytes.withByteSink { sink in
      HTTPDate.append(max(0, WallClock.now().seconds), to: &sink)
      return sink.view.string
    }
  }
}

extension AdminRequest {
  init(_ head: borrowing RequestHead, token: String?) {
    var authorization: [String] = []
    var index = head.fields.firstIndex(of: .authorization)
    while let line = index {
      authorization.append(head.value(line).string)
      index = head.fields.firstIndex(of: .authorization, from: line + 1)
    }
    self.init(
      method: head.method, path: head.routingPath.string, authorization: authorization,
      requiredToken: token)
    if head.methodName.equals("PURGE") { purge = PurgeHead(head) }
  }
}

extension PurgeHead {
  init(_ head: borrowing RequestHead) {
    let soft = ["soft-purge", "fastly-soft-purge"].contains { name in
      Array(name.utf8).withByteView { name in
        head.fields.firstIndex(named: name, in: head.bytes).map { head.value($0).equals("1") }
          ?? false
      }
    }
    self.init(
      target: head.target.string, host: head.authority.string,
      surrogateKeys: PurgeHead.values(.surrogateKey, head),
      cacheTags: PurgeHead.values(.cacheTag, head), isSoft: soft)
  }

  private static func values(_ name: FieldName, _ head: borrowing RequestHead) -> [String] {
    var values: [String] = []
    var index = head.fields.firstIndex(of: name)
    while let line = index {
      values.append(head.value(line).string)
      index = head.fields.firstIndex(of: name, from: line + 1)
    }
    return values
  }
}
