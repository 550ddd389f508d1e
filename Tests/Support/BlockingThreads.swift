import Foundation
import Testing

/// Runs tests that block on sockets on threads of their own, six at a time: the cooperative pool
/// has one thread for each processor, and would let only two of them wait at once.
public struct BlockingThreads: SuiteTrait, TestTrait, TestScoping {
  public var isRecursive: Bool { true }

  public func provideScope(
    for test: Test, testCase: Test.Case?, performing function: @Sendable () async throws -> Void
  ) async throws {
    guard testCase != nil else { return try await function() }
    try await withTaskExecutorPreference(ThreadPool.shared) { try await function() }
  }
}

extension Trait where Self == BlockingThreads {
  public static var blocking: Self { BlockingThreads() }
}

/// A fixed number of threads that take jobs in order.
private final class ThreadPool: TaskExecutor {
  static let shared = ThreadPool(count: 6)

  private let jobs = Monitor<[UnownedJob]>([])

  init(count: Int) {
    for _ in 0..<count {
      Thread.detachNewThread { [self] in
        while true {
          _ = jobs.wait(until: .after(3600)) { !$0.isEmpty }
          guard let job = jobs.update({ $0.isEmpty ? nil : $0.removeFirst() }) else { continue }
          job.runSynchronously(on: asUnownedTaskExecutor())
        }
      }
    }
  }

  func enqueue(_ job: consuming ExecutorJob) {
    let job = UnownedJob(job)
    jobs.update { $0.append(job) }
  }
}
