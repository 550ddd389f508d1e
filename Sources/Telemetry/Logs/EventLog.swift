import Glibc
import Primitives
import Synchronization

/// What happens to the daemon, for its operator: one line each on standard error.
///
/// Under systemd each line carries its syslog priority (`<4>`), which the journal understands, and
/// no time, which the journal adds; elsewhere it begins with the time and the level. A line is
/// never waited for: where standard error has no room it is dropped, and the next one that gets
/// through says how many were. Control plane: it allocates.
public final class EventLog: Sendable {
  /// A pipe that polls as writable takes this much at once (POSIX `PIPE_BUF` on Linux), so a
  /// longer line would have to wait; it is cut.
  private static let maxLineBytes = 4096

  public enum Style: Sendable { case plain, journal }

  private let descriptor: Int32
  private let style: Style
  private let leastLevel: Atomic<Int>
  private let dropped = Atomic<Int>(0)

  /// `style` `nil`: found out from the environment.
  public init(level: LogLevel, descriptor: Int32 = 2, style: Style? = nil) {
    self.descriptor = descriptor
    self.style = style ?? (EventLog.isJournal(descriptor) ? .journal : .plain)
    leastLevel = Atomic(level.rawValue)
  }

  /// Takes effect at once, on every thread.
  public func setLevel(_ level: LogLevel) { leastLevel.store(level.rawValue, ordering: .relaxed) }

  public func debug(_ message: String, _ fields: KeyValuePairs<String, String> = [:]) {
    write(.debug, message, fields)
  }

  public func info(_ message: String, _ fields: KeyValuePairs<String, String> = [:]) {
    write(.info, message, fields)
  }

  public func warning(_ message: String, _ fields: KeyValuePairs<String, String> = [:]) {
    write(.warning, message, fields)
  }

  public func error(_ message: String, _ fields: KeyValuePairs<String, String> = [:]) {
    write(.error, message, fields)
  }

  public func write(
    _ level: LogLevel, _ message: String, _ fields: KeyValuePairs<String, String> = [:]
  ) {
    guard level.rawValue >= leastLevel.load(ordering: .relaxed) else { return }
    let missed = dropped.exchange(0, ordering: .relaxed)
    if missed > 0 {
      let note = line(.warning, "event log lines were dropped", ["lines": "\(missed)"])
      if !put(note) { dropped.add(missed, ordering: .relaxed) }
    }
    if !put(line(level, message, fields)) { dropped.add(1, ordering: .relaxed) }
  }

  // MARK: The line

  private func line(
    _ level: LogLevel, _ message: String, _ fields: KeyValuePairs<String, String>
  ) -> [UInt8] {
    var text = prefix(level)
    EventLog.append(message, quotes: false, to: &text)
    for (name, value) in fields {
      text += " \(name)="
      let isBare =
        !value.isEmpty && value.utf8.allSatisfy { $0 > 0x20 && $0 != 0x22 && $0 != 0x3D }
      if isBare {
        EventLog.append(value, quotes: false, to: &text)
      } else {
        text += "\""
        EventLog.append(value, quotes: true, to: &text)
        text += "\""
      }
    }
    var bytes = Array(text.utf8.prefix(EventLog.maxLineBytes - 1))
    bytes.append(UInt8(ascii: "\n"))
    return bytes
  }

  private func prefix(_ level: LogLevel) -> String {
    if style == .journal { return "<\(level.syslogPriority)>" }
    let now = WallClock.now()
    var time = [UInt8](repeating: 0, count: 32)
    let text = time.withByteSink { sink in
      sink.appendRFC3339(CivilTime(unixSeconds: now.seconds))
      sink.append(byte: UInt8(ascii: "."))
      sink.append(decimal: UInt(now.nanoseconds / 1_000_000), width: 3)
      return sink.view.string
    }
    return "\(text)Z \(level) "
  }

  /// Nothing that came from outside may begin a line of its own or move the cursor.
  private static func append(_ text: String, quotes: Bool, to line: inout String) {
    for scalar in text.unicodeScalars {
      switch scalar.value {
      case 0..<0x20, 0x7F..<0xA0:
        let hex = String(scalar.value, radix: 16)
        line += hex.utf8.count == 1 ? "\\x0\(hex)" : "\\x\(hex)"
      case 0x22 where quotes: line += "\\\""
      case 0x5C where quotes: line += "\\\\"
      default: line.unicodeScalars.append(scalar)
      }
    }
  }

  // MARK: The descriptor

  /// Whether the whole line was taken. The descriptor is shared with whoever started weir, so it
  /// is not made non-blocking: it is asked first.
  private func put(_ bytes: [UInt8]) -> Bool {
    let asSocket = unsafe bytes.withUnsafeBytes {
      unsafe send(descriptor, $0.baseAddress, $0.count, Int32(MSG_DONTWAIT | MSG_NOSIGNAL))
    }
    if asSocket == bytes.count { return true }
    guard asSocket < 0, errno == ENOTSOCK else { return false }
    var wanted = pollfd(fd: descriptor, events: Int16(POLLOUT), revents: 0)
    guard unsafe poll(&wanted, 1, 0) == 1, Int32(wanted.revents) & POLLOUT != 0 else {
      return false
    }
    return unsafe bytes.withUnsafeBytes {
      unsafe Glibc.write(descriptor, $0.baseAddress, $0.count) == $0.count
    }
  }

  /// systemd names the device and inode of the stream it connected (systemd.exec(5),
  /// JOURNAL_STREAM); a redirected standard error has others.
  private static func isJournal(_ descriptor: Int32) -> Bool {
    guard let value = unsafe getenv("JOURNAL_STREAM") else { return false }
    var status = stat()
    guard unsafe fstat(descriptor, &status) == 0 else { return false }
    return unsafe String(cString: value) == "\(status.st_dev):\(status.st_ino)"
  }
}

extension LogLevel {
  /// syslog(3): 7 debug, 6 info, 4 warning, 3 error.
  var syslogPriority: Int {
    switch self {
    case .debug: 7
    case .info: 6
    case .warning: 4
    case .error: 3
    }
  }
}
