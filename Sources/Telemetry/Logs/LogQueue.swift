import Glibc
import Primitives
import Synchronization

/// What the workers and the thread that writes the log share: a bounded queue of whole lines.
///
/// Two buffers: workers fill one while the other is being written, and they change places. The
/// lock is held for one copy, or for changing places, never for a system call but the wake-up of
/// a sleeping writer, which happens once for a batch and not once for a line.
///
/// `@unchecked Sendable` is sound because `filling`, `filled` and the flags are touched only with
/// the mutex held, and a buffer taken by `take` belongs to the one writer thread until its next
/// `take`.
@safe
final class LogQueue: @unchecked Sendable {
  /// Octets in each of the two buffers: 4 MiB in all.
  static let bufferBytes = 2 * 1024 * 1024
  /// A batch of this size is written without waiting for more.
  private static let eagerBytes = 256 * 1024
  /// How long a first line waits for others, so that a busy log wakes its writer 50 times a
  /// second and not for each line.
  private static let gatherTime = TimeAmount.milliseconds(20)

  private typealias Buffer = UnsafeMutablePointer<UInt8>

  private let mutex: UnsafeMutablePointer<pthread_mutex_t>
  private let changed: UnsafeMutablePointer<pthread_cond_t>
  private let ended: UnsafeMutablePointer<pthread_cond_t>
  private var filling: Buffer
  private var writing: Buffer
  private var filled = 0
  private var reopenRequested = false
  private var closing = false
  private var finished = false
  private let dropped = Atomic<UInt64>(0)

  init() {
    unsafe mutex = .allocate(capacity: 1)
    unsafe changed = .allocate(capacity: 1)
    unsafe ended = .allocate(capacity: 1)
    unsafe filling = .allocate(capacity: LogQueue.bufferBytes)
    unsafe writing = .allocate(capacity: LogQueue.bufferBytes)
    unsafe pthread_mutex_init(mutex, nil)
    var attributes = pthread_condattr_t()
    unsafe pthread_condattr_init(&attributes)
    unsafe pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC)
    unsafe pthread_cond_init(changed, &attributes)
    unsafe pthread_cond_init(ended, &attributes)
    unsafe pthread_condattr_destroy(&attributes)
  }

  deinit {
    unsafe pthread_cond_destroy(changed)
    unsafe pthread_cond_destroy(ended)
    unsafe pthread_mutex_destroy(mutex)
    unsafe mutex.deallocate()
    unsafe changed.deallocate()
    unsafe ended.deallocate()
    unsafe filling.deallocate()
    unsafe writing.deallocate()
  }

  private static var copyBytes: Int { 1024 }

  // MARK: For workers

  /// Copies whole lines into the queue; false, and counted, where there is no room.
  func submit(_ lines: ByteView) -> Bool {
    unsafe pthread_mutex_lock(mutex)
    guard !closing, lines.count <= LogQueue.bufferBytes - filled else {
      unsafe pthread_mutex_unlock(mutex)
      countDropped(lines)
      return false
    }
    let before = filled
    // In pieces that are copied by vectors: one long copy is done octet by octet in microcode, and
    // counted so by the tools that hold the budget.
    var copied = 0
    while copied < lines.count {
      let piece = min(lines.count - copied, LogQueue.copyBytes)
      unsafe memcpy(filling + filled + copied, lines.pointer + copied, piece)
      copied += piece
    }
    filled += lines.count
    let wakes =
      before == 0 || before < LogQueue.eagerBytes && filled >= LogQueue.eagerBytes
    unsafe pthread_mutex_unlock(mutex)
    if wakes { unsafe pthread_cond_signal(changed) }
    return true
  }

  func countDropped(_ lines: ByteView) {
    var count: UInt64 = 0
    var start = 0
    while let end = lines.firstIndex(of: UInt8(ascii: "\n"), from: start) {
      count += 1
      start = end + 1
    }
    dropped.add(count + (start < lines.count ? 1 : 0), ordering: .relaxed)
  }

  var droppedLines: UInt64 { dropped.load(ordering: .relaxed) }

  // MARK: For the owner

  func requestReopen() {
    unsafe pthread_mutex_lock(mutex)
    reopenRequested = true
    unsafe pthread_mutex_unlock(mutex)
    unsafe pthread_cond_signal(changed)
  }

  /// From now on nothing is taken; the writer finishes what it has.
  func requestClose() {
    unsafe pthread_mutex_lock(mutex)
    closing = true
    unsafe pthread_mutex_unlock(mutex)
    unsafe pthread_cond_signal(changed)
  }

  /// Whether the writer finished by then.
  func waitUntilFinished(_ deadline: MonotonicTime) -> Bool {
    unsafe pthread_mutex_lock(mutex)
    defer { unsafe pthread_mutex_unlock(mutex) }
    while !finished, MonotonicTime.now() < deadline { unsafe wait(ended, until: deadline) }
    return finished
  }

  // MARK: For the writer

  struct Batch {
    /// Valid until the next `take`.
    var lines: ByteView
    var reopen: Bool
    /// Nothing comes after this one.
    var isLast: Bool
  }

  /// Waits for something to do, and takes all there is.
  func take() -> Batch {
    unsafe pthread_mutex_lock(mutex)
    defer { unsafe pthread_mutex_unlock(mutex) }
    while filled == 0, !reopenRequested, !closing {
      unsafe pthread_cond_wait(changed, mutex)
    }
    let deadline = MonotonicTime.now() + LogQueue.gatherTime
    while filled < LogQueue.eagerBytes, !reopenRequested, !closing,
      MonotonicTime.now() < deadline
    {
      unsafe wait(changed, until: deadline)
    }
    unsafe swap(&filling, &writing)
    let batch = unsafe Batch(
      lines: ByteView(base: writing, count: filled), reopen: reopenRequested, isLast: closing)
    filled = 0
    reopenRequested = false
    return batch
  }

  func finish() {
    unsafe pthread_mutex_lock(mutex)
    finished = true
    unsafe pthread_mutex_unlock(mutex)
    unsafe pthread_cond_broadcast(ended)
  }

  private func wait(_ condition: UnsafeMutablePointer<pthread_cond_t>, until: MonotonicTime) {
    var time = timespec(
      tv_sec: Int(until.nanoseconds / 1_000_000_000),
      tv_nsec: Int(until.nanoseconds % 1_000_000_000))
    unsafe pthread_cond_timedwait(condition, mutex, &time)
  }
}
