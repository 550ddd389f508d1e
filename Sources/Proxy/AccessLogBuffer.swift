import Primitives
import Telemetry

/// A worker's access log lines on their way to the log's thread: collected here, handed on in
/// batches, never waited for (rule 54).
public final class AccessLogBuffer {
  private static let capacity = 64 * 1024
  /// A batch is handed on when it is this full, or this old.
  private static let batchOctets = 48 * 1024
  private static let batchAge = TimeAmount.milliseconds(200)

  private(set) var flushDue = MonotonicTime.never

  public init(_ sink: LogSink) {}

  func turnEnded(now: MonotonicTime) {
    if now >= flushDue { flush() }
  }

  func flush() { flushDue = .never }
}

public final class LogSink: Sendable {
  public init(_ options: AccessLogOptions, events: EventLog) {}
  public func reopen() {}
  public func close() {}
}
