import Glibc
import Primitives

/// The end of the access log: a file, opened for appending, or standard output. Owned by the
/// thread that writes it, which is the only one that may wait here.
///
///     closed ──opened──► open ──write fails──► closed, not tried again for a second
///        ▲                 └──reopen asked──► closed, tried at once
struct LogFile {
  /// Between attempts to open a file that cannot be opened, or that failed.
  private static let retryPause = TimeAmount.seconds(1)
  /// Between two reports of failures: a full disk is one event, not a thousand.
  private static let reportPause = TimeAmount.seconds(10)

  /// `nil` for standard output.
  private let path: String?
  private let eventLog: EventLog
  private var descriptor: Int32 = -1
  private var nextOpen = MonotonicTime.zero
  private var nextReport = MonotonicTime.zero
  /// The last write stopped inside a line; the next one has to end it.
  private var isInsideLine = false

  init(path: String?, eventLog: EventLog) {
    self.path = path
    self.eventLog = eventLog
  }

  mutating func reopen() {
    closeDescriptor()
    nextOpen = .zero
    isInsideLine = false
  }

  mutating func closeDescriptor() {
    if descriptor >= 0, path != nil { _ = Glibc.close(descriptor) }
    descriptor = -1
  }

  /// Writes whole lines and returns what could not be written, whole lines too.
  mutating func write(_ lines: ByteView) -> ByteView {
    guard openIfNeeded() else { return lines }
    if isInsideLine {
      guard writeAll(ByteView("\n")) == 1 else { return lines }
      isInsideLine = false
    }
    let written = writeAll(lines)
    if written == lines.count { return .empty }
    isInsideLine = written > 0 && lines[written - 1] != UInt8(ascii: "\n")
    return lines.slice(from: written)
  }

  private mutating func openIfNeeded() -> Bool {
    if descriptor >= 0 { return true }
    guard let path else {
      descriptor = 1
      return true
    }
    let now = MonotonicTime.now()
    guard now >= nextOpen else { return false }
    descriptor = unsafe path.withCString {
      unsafe Glibc.open($0, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC | O_NOCTTY, 0o640)
    }
    if descriptor < 0 {
      report("cannot open the access log", errno)
      nextOpen = now + LogFile.retryPause
    }
    return descriptor >= 0
  }

  /// How many octets were written before an error, if any.
  private mutating func writeAll(_ bytes: ByteView) -> Int {
    var written = 0
    while written < bytes.count {
      let rest = bytes.slice(from: written)
      let result = unsafe Glibc.write(descriptor, rest.pointer, rest.count)
      if result > 0 {
        written += result
        continue
      }
      let code = result == 0 ? ENOSPC : errno
      if code == EINTR { continue }
      if code == EAGAIN {
        // Somebody shares standard output and made it non-blocking. This thread may wait.
        var wanted = pollfd(fd: descriptor, events: Int16(POLLOUT), revents: 0)
        _ = unsafe poll(&wanted, 1, 1000)
        continue
      }
      report("cannot write the access log", code)
      closeDescriptor()
      nextOpen = MonotonicTime.now() + LogFile.retryPause
      break
    }
    return written
  }

  private mutating func report(_ message: String, _ code: Int32) {
    let now = MonotonicTime.now()
    guard now >= nextReport else { return }
    nextReport = now + LogFile.reportPause
    let reason = unsafe strerror(code).map { unsafe String(cString: $0) } ?? "error \(code)"
    eventLog.error(message, ["path": path ?? "standard output", "reason": reason])
  }
}
