#if WEIR_THREAD_SANITIZER
  import Glibc
#else
  import Synchronization
#endif

#if WEIR_THREAD_SANITIZER
  /// The same as `Mutex`, on the C library's lock: the thread sanitizer knows what that one orders,
  /// and knows nothing of the futex inside `Mutex`, so that it would report everything between two
  /// critical sections as a race. `make tsan` builds this one; no other build has it.
  ///
  /// `@unchecked Sendable`: `value` is touched by `withLock` alone, with the lock held. Both blocks
  /// are made in `init` and freed in `deinit`, which runs once, because the lock cannot be copied.
  @safe
  public struct Lock<Value: ~Copyable>: ~Copyable, @unchecked Sendable {
    private let mutex: UnsafeMutablePointer<pthread_mutex_t>
    private let value: UnsafeMutablePointer<Value>

    public init(_ initial: consuming sending Value) {
      unsafe mutex = .allocate(capacity: 1)
      unsafe pthread_mutex_init(mutex, nil)
      unsafe value = .allocate(capacity: 1)
      unsafe value.initialize(to: initial)
    }

    deinit {
      unsafe value.deinitialize(count: 1)
      unsafe value.deallocate()
      unsafe pthread_mutex_destroy(mutex)
      unsafe mutex.deallocate()
    }

    public borrowing func withLock<Result: ~Copyable, Failure: Error>(
      _ body: (inout sending Value) throws(Failure) -> sending Result
    ) throws(Failure) -> sending Result {
      unsafe pthread_mutex_lock(mutex)
      defer { unsafe pthread_mutex_unlock(mutex) }
      return try unsafe body(&value.pointee)
    }
  }
#else
  /// A value and the lock that guards it. `Mutex` itself, under a name that a build for the thread
  /// sanitizer can give to a lock it sees through.
  public typealias Lock<Value: ~Copyable> = Mutex<Value>
#endif
