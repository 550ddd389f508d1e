import CLinux
import Foundation

public enum WireError: Error, Equatable {
  /// Nothing came for the whole of the step's time.
  case timedOut(String)
  /// RST instead of FIN.
  case reset
  /// FIN in the middle of a message; what had come of it.
  case endedEarly(String)
  /// What came is not HTTP/1.1 to the letter.
  case malformed(String)
  case system(String, Int32)
}

/// One TCP connection of a test, on either side of the proxy: exact octets in and out, every wait
/// bounded. Used by one thread.
public final class WireConnection {
  public let descriptor: Int32
  /// Bound of each single wait; below the 15 s after which the daemon ends idle connections.
  public var stepSeconds = 10.0
  /// Told of everything that is received, in order.
  var tap: ((UnsafeRawBufferPointer) -> Void)?
  /// Set: the octets travel in TLS.
  var session: TestTLS.Session?
  private var buffer: [UInt8] = []
  private var start = 0
  private var isClosed = false
  /// Octets received over the connection's life.
  public private(set) var receivedCount = 0

  init(descriptor: Int32) {
    self.descriptor = descriptor
    var one: Int32 = 1
    setsockopt(
      descriptor, Int32(IPPROTO_TCP), TCP_NODELAY, &one, socklen_t(MemoryLayout<Int32>.size))
  }

  deinit { close() }

  /// Connects to `port` of 127.0.0.1, from another loopback address where `source` names one.
  public static func connect(
    port: UInt16, source: String? = nil, receiveBufferBytes: Int32? = nil
  ) throws -> WireConnection {
    let descriptor = socket(AF_INET, Int32(SOCK_STREAM.rawValue | SOCK_CLOEXEC.rawValue), 0)
    guard descriptor >= 0 else { throw WireError.system("socket", errno) }
    let connection = WireConnection(descriptor: descriptor)
    if var bytes = receiveBufferBytes {
      setsockopt(descriptor, SOL_SOCKET, SO_RCVBUF, &bytes, socklen_t(MemoryLayout<Int32>.size))
    }
    if let source {
      let result = withAddress(port: 0, host: source) { Glibc.bind(descriptor, $0, $1) }
      guard result == 0 else { throw WireError.system("bind", errno) }
    }
    let result = withAddress(port: port, host: "127.0.0.1") {
      Glibc.connect(descriptor, $0, $1)
    }
    guard result == 0 else { throw WireError.system("connect", errno) }
    return connection
  }

  /// Connects to a unix socket.
  public static func connect(path: String) throws -> WireConnection {
    let descriptor = socket(AF_UNIX, Int32(SOCK_STREAM.rawValue | SOCK_CLOEXEC.rawValue), 0)
    guard descriptor >= 0 else { throw WireError.system("socket", errno) }
    let connection = WireConnection(descriptor: descriptor)
    var address = sockaddr_un()
    address.sun_family = sa_family_t(AF_UNIX)
    withUnsafeMutableBytes(of: &address.sun_path) { $0.copyBytes(from: path.utf8.prefix(107)) }
    let result = withUnsafePointer(to: &address) {
      $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
        Glibc.connect(descriptor, $0, socklen_t(MemoryLayout<sockaddr_un>.size))
      }
    }
    guard result == 0 else { throw WireError.system("connect \(path)", errno) }
    return connection
  }

  static func withAddress<Result>(
    port: UInt16, host: String, _ body: (UnsafePointer<sockaddr>, socklen_t) -> Result
  ) -> Result {
    var address = sockaddr_in()
    address.sin_family = sa_family_t(AF_INET)
    address.sin_port = port.bigEndian
    inet_pton(AF_INET, host, &address.sin_addr)
    return withUnsafePointer(to: &address) {
      $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
        body($0, socklen_t(MemoryLayout<sockaddr_in>.size))
      }
    }
  }

  // MARK: Sending

  public func send(_ text: String) throws { try send(Array(text.utf8)) }

  public func send(_ bytes: [UInt8]) throws {
    try bytes.withUnsafeBytes { try send($0) }
  }

  public func send(_ bytes: UnsafeRawBufferPointer) throws {
    if let session { return try session.write(bytes) }
    var offset = 0
    while offset < bytes.count {
      try waitFor(Int16(POLLOUT), "sending")
      let count = Glibc.send(
        descriptor, bytes.baseAddress! + offset, bytes.count - offset,
        Int32(MSG_NOSIGNAL | MSG_DONTWAIT))
      if count < 0 && errno == EAGAIN { continue }
      if count < 0 {
        throw errno == ECONNRESET || errno == EPIPE
          ? WireError.reset : WireError.system("send", errno)
      }
      offset += count
    }
  }

  /// Each piece in a segment of its own: the next one is written when this one has left; with
  /// `eachRead`, when the process at the other end of a loopback connection has read it.
  public func send(pieces: [[UInt8]], eachRead: Bool = false) throws {
    for (index, piece) in pieces.enumerated() {
      try send(piece)
      let isReadFirst = eachRead && index < pieces.count - 1
      _ = Poll.until(.after(stepSeconds)) {
        var queued: Int32 = 0
        guard ioctl(descriptor, WireConnection.unsentCount, &queued) == 0 else { return true }
        return queued == 0 && (!isReadFirst || kernelQueues?.peerUnread == 0)
      }
    }
  }

  /// SIOCOUTQNSD of linux/sockios.h: octets not sent yet. (TIOCOUTQ would also count those whose
  /// acknowledgement the other side delays by 40 ms.)
  private static let unsentCount: UInt = 0x894B

  /// FIN: nothing more will be sent, but everything is still read.
  public func finishSending() { shutdown(descriptor, Int32(SHUT_WR)) }

  /// RST: what was not read yet is lost, and the other side knows.
  public func reset() {
    var linger = linger(l_onoff: 1, l_linger: 0)
    setsockopt(
      descriptor, SOL_SOCKET, SO_LINGER, &linger, socklen_t(MemoryLayout<Glibc.linger>.size))
    close()
  }

  public func close() {
    if !isClosed { Glibc.close(descriptor) }
    isClosed = true
  }

  // MARK: Receiving

  public enum Ending: Equatable, Sendable { case fin, reset }

  /// Everything up to the end of the connection, and how it ended.
  public func readToEnd() throws -> (octets: [UInt8], ending: Ending) {
    do {
      while try fill() {}
    } catch WireError.reset {
      return (takeAll(), .reset)
    }
    return (takeAll(), .fin)
  }

  /// True when the other side has neither sent nor ended within `seconds`.
  public func staysSilent(for seconds: Double) -> Bool {
    guard start == buffer.count else { return false }
    var entry = pollfd(fd: descriptor, events: Int16(POLLIN), revents: 0)
    return poll(&entry, 1, Int32(seconds * 1000)) == 0
  }

  /// True when something can be read, or the other side ends, within `seconds`.
  public func hasMoreWithin(_ seconds: Double) throws -> Bool {
    start < buffer.count || !staysSilent(for: seconds)
  }

  func takeAll() -> [UInt8] {
    defer {
      buffer = []
      start = 0
    }
    return Array(buffer[start...])
  }

  /// One line without its CRLF; strict: a bare LF or CR is `malformed`.
  public func readLine(limit: Int = 65536) throws -> String {
    var scanned = start
    while true {
      if let feed = buffer[scanned...].firstIndex(of: 10) {
        guard feed > start, buffer[feed - 1] == 13 else { throw WireError.malformed("bare LF") }
        let line = buffer[start..<(feed - 1)]
        guard !line.contains(13) else { throw WireError.malformed("bare CR") }
        start = feed + 1
        return String(decoding: line, as: UTF8.self)
      }
      scanned = buffer.count
      guard buffer.count - start < limit else { throw WireError.malformed("line too long") }
      let known = start
      guard try fill() else {
        throw WireError.endedEarly(String(decoding: buffer[start...], as: UTF8.self))
      }
      scanned -= known - start
    }
  }

  /// Hands over at most `limit` octets as they come; 0: the other side sent FIN.
  func readSome(limit: Int, _ consume: (UnsafeRawBufferPointer) throws -> Void) throws -> Int {
    if start == buffer.count, try !fill() { return 0 }
    let count = min(limit, buffer.count - start)
    try buffer.withUnsafeBytes {
      try consume(UnsafeRawBufferPointer(rebasing: $0[start..<(start + count)]))
    }
    start += count
    return count
  }

  /// Exactly `count` octets.
  public func read(_ count: Int) throws -> [UInt8] {
    var octets: [UInt8] = []
    while octets.count < count {
      let got = try readSome(limit: count - octets.count) { octets.append(contentsOf: $0) }
      if got == 0 { throw WireError.endedEarly(String(decoding: octets, as: UTF8.self)) }
    }
    return octets
  }

  /// True when there is something more to read, false when FIN came.
  public func hasMore() throws -> Bool { try start < buffer.count || fill() }

  /// Receives once; false: FIN.
  private func fill() throws -> Bool {
    if start == buffer.count {
      buffer.removeAll(keepingCapacity: true)
      start = 0
    }
    if session?.hasPending != true { try waitFor(Int16(POLLIN), "receiving") }
    let count = try withUnsafeTemporaryAllocation(byteCount: 256 << 10, alignment: 16) { room in
      let count =
        try session?.read(room) ?? recv(descriptor, room.baseAddress!, room.count, 0)
      if count > 0 {
        let received = UnsafeRawBufferPointer(rebasing: room[..<count])
        tap?(received)
        receivedCount += count
        buffer.append(contentsOf: received)
      }
      return count
    }
    if count < 0 {
      throw errno == ECONNRESET ? WireError.reset : WireError.system("recv", errno)
    }
    return count > 0
  }

  private func waitFor(_ events: Int16, _ what: String) throws {
    let deadline = Deadline.after(stepSeconds)
    while true {
      var entry = pollfd(fd: descriptor, events: events, revents: 0)
      let ready = poll(&entry, 1, deadline.millisecondsLeft)
      if ready > 0 { return }
      if ready == 0 {
        let pending = String(decoding: buffer[start...].prefix(500), as: UTF8.self)
        throw WireError.timedOut("\(what) for \(stepSeconds) s; pending: \(pending)")
      }
      if errno != EINTR { throw WireError.system("poll", errno) }
    }
  }
}
