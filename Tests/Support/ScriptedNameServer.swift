import CLinux
import Foundation

/// A name server that says exactly what a test says, over UDP and TCP on one port of 127.0.0.1, and
/// remembers what it was asked.
public final class ScriptedNameServer: Sendable {
  public enum Kind: UInt16, Sendable {
    case v4 = 1
    case v6 = 28
    case service = 33
  }

  /// What it answers a question with.
  public enum Reply: Sendable {
    /// IPv4 or IPv6 addresses as written.
    case addresses([String], ttl: UInt32)
    /// An alias, and the addresses of what it stands for.
    case alias(String, [String], ttl: UInt32, aliasTTL: UInt32)
    /// Records of type SRV: priority, weight, port, target.
    case services([(UInt16, UInt16, UInt16, String)], ttl: UInt32)
    /// The name exists, and has no such record.
    case empty
    /// An error code of RFC 1035 §4.1.1: 2 failure, 3 no such name, 5 refused.
    case error(UInt8)
    case silence
    /// Over UDP: so much that it has to be asked over TCP, where this comes.
    indirect case tooLong(Reply)
    /// These octets behind the identifier of the question.
    case octets([UInt8])
    /// The whole message of another reply, made into something else.
    indirect case changed(Reply, @Sendable (inout [UInt8]) -> Void)

    public static let noSuchName = Reply.error(3)
    public static let failure = Reply.error(2)
  }

  public struct Question: Sendable, Equatable {
    public var name: String
    public var kind: Kind
    public var isTCP: Bool
  }

  private struct Name: Hashable {
    var name: String
    var kind: Kind
  }

  private struct State {
    var replies: [Name: Reply] = [:]
    var questions: [Question] = []
    /// Answers everything like this, while it is set.
    var everything: Reply?
  }

  public let port: UInt16
  private let descriptor: Int32
  private let state = Monitor(State())
  private let stream: Monitor<ScriptedOrigin?>

  public init() throws {
    let state = state
    var bound: (origin: ScriptedOrigin, datagrams: Int32)?
    for _ in 0..<20 where bound == nil {
      let origin = try ScriptedOrigin { connection, _ in
        while try connection.hasMore() {
          let length = try connection.read(2)
          let message = try connection.read(Int(length[0]) << 8 | Int(length[1]))
          guard let answer = ScriptedNameServer.answer(message, state, isTCP: true) else { return }
          try connection.send(
            [UInt8(answer.count >> 8), UInt8(answer.count & 0xFF)] + answer)
        }
      }
      if let datagrams = ScriptedNameServer.bindDatagrams(origin.port) {
        bound = (origin, datagrams)
      }
    }
    guard let bound else { throw TestFailure("no port for a name server") }
    port = bound.origin.port
    stream = Monitor(bound.origin)
    descriptor = bound.datagrams
    Thread.detachNewThread { [descriptor] in
      ScriptedNameServer.serveDatagrams(descriptor, state)
      close(descriptor)
    }
  }

  deinit {
    shutdown(descriptor, Int32(SHUT_RDWR))
    stream.current?.stop()
  }

  /// As `resolver` wants it.
  public var address: String { "127.0.0.1:\(port)" }

  /// What it answers from now on; a name without a reply does not exist.
  public func set(_ name: String, _ reply: Reply) { set(name, .v4, reply) }

  public func set(_ name: String, _ kind: Kind, _ reply: Reply) {
    state.update { $0.replies[Name(name: name, kind: kind)] = reply }
  }

  /// Answers all questions with this; `nil`: as was said of each.
  public func answerEverything(_ reply: Reply?) { state.update { $0.everything = reply } }

  public var questions: [Question] { state.update { $0.questions } }

  public func wait(_ seconds: Double = 20, for condition: ([Question]) -> Bool) -> Bool {
    state.wait(until: .after(seconds)) { condition($0.questions) }
  }

  /// Whether so many further questions for the name come.
  public func waitForMore(_ count: Int, of name: String, _ kind: Kind = .v4) -> Bool {
    let isOne = { (question: Question) in question.name == name && question.kind == kind }
    let known = questions.count(where: isOne)
    return wait { $0.count(where: isOne) >= known + count }
  }

  // MARK: Sockets

  private static func bindDatagrams(_ port: UInt16) -> Int32? {
    let descriptor = socket(
      AF_INET, Int32(SOCK_DGRAM.rawValue) | Int32(SOCK_CLOEXEC.rawValue), 0)
    let result = WireConnection.withAddress(port: port, host: "127.0.0.1") {
      bind(descriptor, $0, $1)
    }
    if result == 0 { return descriptor }
    close(descriptor)
    return nil
  }

  private static func serveDatagrams(_ descriptor: Int32, _ state: Monitor<State>) {
    var buffer = [UInt8](repeating: 0, count: 2048)
    while true {
      var peer = sockaddr_in()
      var length = socklen_t(MemoryLayout<sockaddr_in>.size)
      let count = withUnsafeMutablePointer(to: &peer) {
        $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
          recvfrom(descriptor, &buffer, buffer.count, 0, $0, &length)
        }
      }
      if count < 0, errno == EINTR { continue }
      // A datagram socket that was shut down reads as empty.
      guard count > 0 else { return }
      guard let answer = answer(Array(buffer[..<count]), state, isTCP: false) else { continue }
      _ = withUnsafePointer(to: &peer) {
        $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
          sendto(descriptor, answer, answer.count, 0, $0, length)
        }
      }
    }
  }

  // MARK: Messages

  /// `nil`: it says nothing.
  private static func answer(
    _ message: [UInt8], _ state: Monitor<State>, isTCP: Bool
  ) -> [UInt8]? {
    guard message.count > 16 else { return nil }
    var labels: [String] = []
    var index = 12
    while index < message.count, message[index] > 0 {
      let end = min(index + 1 + Int(message[index]), message.count)
      labels.append(String(decoding: message[(index + 1)..<end], as: UTF8.self))
      index = end
    }
    guard index + 5 <= message.count,
      let kind = Kind(rawValue: UInt16(message[index + 1]) << 8 | UInt16(message[index + 2]))
    else { return nil }
    let name = labels.joined(separator: ".").lowercased()
    let reply = state.update { state in
      state.questions.append(Question(name: name, kind: kind, isTCP: isTCP))
      return state.everything ?? state.replies[Name(name: name, kind: kind)]
        ?? (state.replies.keys.contains { $0.name == name } ? .empty : .noSuchName)
    }
    let question = Array(message[12..<(index + 5)])
    return rendered(reply, identifier: Array(message[..<2]), question, kind, isTCP: isTCP)
  }

  private static func rendered(
    _ reply: Reply, identifier: [UInt8], _ question: [UInt8], _ kind: Kind, isTCP: Bool
  ) -> [UInt8]? {
    var code: UInt8 = 0
    var isCut = false
    var records: [[UInt8]] = []
    switch reply {
    case .silence: return nil
    case .octets(let octets): return identifier + octets
    case .changed(let whole, let change):
      var message = rendered(whole, identifier: identifier, question, kind, isTCP: isTCP)
      if message != nil { change(&message!) }
      return message
    case .tooLong(let whole):
      if isTCP { return rendered(whole, identifier: identifier, question, kind, isTCP: true) }
      isCut = true
    case .empty: break
    case .error(let number): code = number
    case .addresses(let addresses, let ttl):
      records = addresses.map { record([0xC0, 12], kind.rawValue, ttl, octets($0)) }
    case .alias(let target, let addresses, let ttl, let aliasTTL):
      records = [record([0xC0, 12], 5, aliasTTL, encoded(target))]
      records += addresses.map { record(encoded(target), kind.rawValue, ttl, octets($0)) }
    case .services(let services, let ttl):
      records = services.map { priority, weight, port, target in
        let numbers = [priority, weight, port].flatMap { [UInt8($0 >> 8), UInt8($0 & 0xFF)] }
        return record([0xC0, 12], kind.rawValue, ttl, numbers + encoded(target))
      }
    }
    // A response, recursion desired and available.
    let head: [UInt8] = [
      0x81 | (isCut ? 2 : 0), 0x80 | code, 0, 1, UInt8(records.count >> 8),
      UInt8(records.count & 0xFF), 0, 0, 0, 0,
    ]
    return identifier + head + question + records.flatMap { $0 }
  }

  private static func record(
    _ name: [UInt8], _ kind: UInt16, _ ttl: UInt32, _ content: [UInt8]
  ) -> [UInt8] {
    let time = (0..<4).map { UInt8(truncatingIfNeeded: ttl >> (24 - 8 * UInt32($0))) }
    return name + [UInt8(kind >> 8), UInt8(kind & 0xFF), 0, 1] + time
      + [UInt8(content.count >> 8), UInt8(content.count & 0xFF)] + content
  }

  private static func encoded(_ name: String) -> [UInt8] {
    name.split(separator: ".").flatMap { [UInt8($0.utf8.count)] + Array($0.utf8) } + [0]
  }

  private static func octets(_ address: String) -> [UInt8] {
    let isV6 = address.contains(":")
    var octets = [UInt8](repeating: 0, count: isV6 ? 16 : 4)
    inet_pton(isV6 ? AF_INET6 : AF_INET, address, &octets)
    return octets
  }
}
