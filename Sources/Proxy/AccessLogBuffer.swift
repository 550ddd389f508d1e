import Primitives
import Telemetry

/// A worker's access log lines on their way to the log's thread: collected here, handed on in
/// batches, never waited for (rule 54).
public final class AccessLogBuffer {
  /// A batch that does not fill is handed on when it is this old.
  private static let batchAge = TimeAmount.milliseconds(200)

  private let writer: LogWriter?
  /// Filled in where it stands: it is too large to be handed over by copies.
  var record = AccessRecord()
  private var batch: AccessLogBatch
  /// When the batch must be handed on; `never` while it is empty.
  private(set) var flushDue = MonotonicTime.never

  /// `writer`: `nil` where the access log is off.
  public init(_ writer: LogWriter?, _ format: AccessLogOptions.Format) {
    self.writer = writer
    batch = AccessLogBatch(format)
  }

  var isOn: Bool { writer != nil }

  /// Appends the line of `record`.
  @inline(__always)
  func append(now: MonotonicTime) {
    if !batch.append(&record) {
      flush()
      _ = batch.append(&record)
    }
    if flushDue == .never { flushDue = now + AccessLogBuffer.batchAge }
    if batch.count >= AccessLogBatch.eagerBytes { flush() }
  }

  func turnEnded(now: MonotonicTime) {
    if now >= flushDue { flush() }
  }

  func flush() {
    flushDue = .never
    guard let writer, !batch.isEmpty else { return }
    // The writer counts the lines of a batch that its queue has no room for.
    _ = writer.submit(batch.lines)
    batch.removeAll()
  }
}
