import Glibc
import Primitives

/// The access log's writer: a thread that appends what workers submit, and takes every delay and
/// every failure on itself (safety rule 54). What it cannot take or write is dropped and counted.
public final class LogWriter: Sendable {
  private let queue = LogQueue()

  /// `nil` for `.off`. The thread runs until `close`, or until the writer is gone.
  public init?(_ target: AccessLogOptions.Target, eventLog: EventLog) {
    let path: String?
    switch target {
    case .off: return nil
    case .standardOutput: path = nil
    case .file(let file): path = file
    }
    let file = LogFile(path: path, eventLog: eventLog)
    guard LogWriter.startThread(LogTask(queue: queue, file: file)) else { return nil }
  }

  deinit { queue.requestClose() }

  /// Takes whole lines, each with its line feed, from any thread: one copy under a short lock.
  /// False, with the lines counted as dropped, where the queue (4 MiB) is full or closed.
  @discardableResult
  public func submit(_ lines: ByteView) -> Bool { queue.submit(lines) }

  /// Lines lost for whatever reason, since the start.
  public var droppedLines: UInt64 { queue.droppedLines }

  /// Opens the file again by its name: after it was renamed (SIGUSR1, logrotate).
  public func reopen() { queue.requestReopen() }

  /// Takes nothing more and waits until the rest is written, at most until `deadline`; false
  /// where it was not by then, and the thread is left behind.
  public func close(deadline: MonotonicTime) -> Bool {
    queue.requestClose()
    return queue.waitUntilFinished(deadline)
  }

  // MARK: The thread

  /// What the thread owns; handed over by one retain that the thread consumes.
  private final class LogTask {
    let queue: LogQueue
    var file: LogFile

    init(queue: LogQueue, file: LogFile) {
      self.queue = queue
      self.file = file
    }

    func run() {
      while true {
        let batch = queue.take()
        if !batch.lines.isEmpty {
          let lost = file.write(batch.lines)
          if !lost.isEmpty { queue.countDropped(lost) }
        }
        // After the lines: they belong to the time before.
        if batch.reopen { file.reopen() }
        if batch.isLast { break }
      }
      file.closeDescriptor()
      queue.finish()
    }
  }

  private static func startThread(_ task: LogTask) -> Bool {
    let context = unsafe Unmanaged.passRetained(task)
    var attributes = pthread_attr_t()
    unsafe pthread_attr_init(&attributes)
    unsafe pthread_attr_setdetachstate(&attributes, Int32(PTHREAD_CREATE_DETACHED))
    // Signals are for the threads that expect them, and a broken pipe is an error here. A thread
    // inherits the mask, so it has no moment without it.
    var all = sigset_t()
    var before = sigset_t()
    unsafe sigfillset(&all)
    unsafe pthread_sigmask(SIG_SETMASK, &all, &before)
    var thread = pthread_t()
    let result = unsafe pthread_create(
      &thread, &attributes,
      { context in
        guard let context = unsafe context else { return nil }
        unsafe Unmanaged<LogTask>.fromOpaque(context).takeRetainedValue().run()
        return nil
      }, context.toOpaque())
    unsafe pthread_sigmask(SIG_SETMASK, &before, nil)
    unsafe pthread_attr_destroy(&attributes)
    if result != 0 { unsafe context.release() }
    return result == 0
  }
}
