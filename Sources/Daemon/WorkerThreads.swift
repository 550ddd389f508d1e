import CLinux
import Glibc
import Primitives
import Proxy
import Telemetry
import Transport

/// The workers' threads, seen from the control thread: how to reach each, and when all have ended.
final class WorkerThreads {
  /// One worker: its mailbox and its counters are all that other threads may touch.
  struct Seat {
    let mailbox: Mailbox<WorkerMessage>
    let metrics: WorkerMetrics
  }

  let seats: [Seat]
  private let begin: @Sendable (Int, Seat, Arrivals) -> pthread_t
  private let ended = Arrivals()
  private var threads: [pthread_t] = []

  /// A worker for each set of listeners; each is made inside its thread, by `start`.
  init(
    snapshot: Snapshot, shared: SharedState, listeners: [[WorkerListener]], seed: UInt64,
    log: LogWriter?
  ) {
    seats = listeners.map { _ in Seat(mailbox: Mailbox(), metrics: WorkerMetrics()) }
    shared.setMailboxes(seats.map(\.mailbox))
    let format = snapshot.options.accessLog.format
    begin = { index, seat, ended in
      Thread.start(name: "weir-worker-\(index)") {
        let worker = Worker(
          number: index, snapshot: snapshot, shared: shared, mailbox: seat.mailbox,
          listeners: listeners[index], metrics: seat.metrics, log: AccessLogBuffer(log, format),
          seed: WorkerThreads.seed(seed, index))
        worker?.run()
        ended.signal()
      }
    }
  }

  /// Whether the threads run; what was posted before waits for them.
  var isRunning: Bool { !threads.isEmpty }

  /// Has them serve.
  func start() {
    threads = seats.enumerated().map { begin($0, $1, ended) }
  }

  /// Far apart in the generator's one long sequence: seeds that differ by its own step would give
  /// the workers the same numbers one place later, and two requests the same id.
  private static func seed(_ seed: UInt64, _ index: Int) -> UInt64 {
    var random = SeededRandom(seed: seed ^ ~UInt64(index))
    return random.next()
  }

  func post(_ message: WorkerMessage) {
    for seat in seats { seat.mailbox.post(message) }
  }

  /// Hands a configuration to every worker and waits until all of them use it: requests whose
  /// heads arrive afterwards are served by it. False where that took longer than `time`.
  /// `listeners`: what each worker listens on from then on.
  func adopt(
    _ snapshot: Snapshot, _ listeners: [[WorkerListener]], within time: TimeAmount
  ) -> Bool {
    let arrivals = Arrivals()
    for (seat, sockets) in zip(seats, listeners) {
      seat.mailbox.post(.adopt(snapshot, sockets, arrivals))
    }
    return arrivals.wait(for: seats.count, until: MonotonicTime.now() + time)
  }

  /// The same without waiting.
  func hand(_ snapshot: Snapshot, _ listeners: [[WorkerListener]]) {
    _ = adopt(snapshot, listeners, within: .zero)
  }

  /// Readable once for each worker that has ended.
  var endDescriptor: Int32 { ended.descriptor }

  /// True when every worker has ended; to be asked when `endDescriptor` is readable.
  func collectEnded() -> Bool { ended.collect() == seats.count }

  func join() {
    for thread in threads { pthread_join(thread, nil) }
    threads = []
  }
}

/// A POSIX thread that runs one closure.
public enum Thread {
  private final class Box {
    let name: String
    let isPrompt: Bool
    let body: @Sendable () -> Void
    init(name: String, isPrompt: Bool, body: @escaping @Sendable () -> Void) {
      self.name = name
      self.isPrompt = isPrompt
      self.body = body
    }
  }

  /// Its name is cut after 15 octets. To be joined or detached by the caller. `isPrompt`: as
  /// `becomePrompt` has it.
  public static func start(
    name: String, isPrompt: Bool = false, _ body: @escaping @Sendable () -> Void
  ) -> pthread_t {
    let box = Unmanaged.passRetained(Box(name: name, isPrompt: isPrompt, body: body))
    var thread = pthread_t()
    let result = pthread_create(&thread, nil, threadMain, box.toOpaque())
    precondition(result == 0, "no thread could be started")
    return thread
  }

  /// The calling thread does little, and is not to wait behind a worker that is busy: where Linux
  /// knows slices of a thread's own (6.12), it gets the shortest one.
  static func becomePrompt() { weir_prompt_thread() }

  /// A free function: closures formed elsewhere may carry an actor's isolation.
  static func run(_ context: UnsafeMutableRawPointer) {
    let box = Unmanaged<Box>.fromOpaque(context).takeRetainedValue()
    _ = weir_name_thread(box.name)
    if box.isPrompt { becomePrompt() }
    box.body()
  }
}

private func threadMain(_ context: UnsafeMutableRawPointer?) -> UnsafeMutableRawPointer? {
  if let context { Thread.run(context) }
  return nil
}
