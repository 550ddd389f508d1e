import CLinux
import Glibc
import Primitives

/// Pipes through which large bodies are spliced, kept for reuse while they are empty.
///
/// All of a user's pipes share the kernel's `pipe-user-pages-soft` (16,384 pages without
/// privileges), beyond which a new pipe is too small to be of use: the workers divide three
/// quarters of it. Large pipes need fewer calls, but one that is missing costs more than a small
/// one: a body that gets none is copied. So the number is kept, and the size gives way.
public struct PipePool: ~Copyable {
  public struct Pipe: BitwiseCopyable, Sendable {
    let input: Int32
    let output: Int32
    /// Octets in the pipe.
    public fileprivate(set) var count = 0
    let capacity: Int
    public static let none = Pipe(input: -1, output: -1, capacity: 0)
    public var isOpen: Bool { input >= 0 }

    init(input: Int32, output: Int32, capacity: Int) {
      self.input = input
      self.output = output
      self.capacity = capacity
    }
  }

  private static let wantedPipes = 96
  private static let mostCapacity = 512 * 1024
  /// A smaller pipe than this costs more calls than copying saves.
  private static let leastCapacity = 64 * 1024
  /// What the pipes of all workers may hold, each pipe of 4 KiB pages.
  private static let octetsOfUser = 12_288 * 4096

  /// Pipes at once: two descriptors each.
  public let limit: Int
  /// Octets asked for each pipe; a power of two, as the kernel would round it.
  public let capacity: Int
  /// Pipes there are, idle ones included.
  public private(set) var open = 0
  private var idle: [Pipe] = []

  public init(limit: Int, capacity: Int = 512 * 1024) {
    self.limit = limit
    self.capacity = capacity
  }

  /// The share of one of `workers`.
  public init(workers: Int) {
    let share = PipePool.octetsOfUser / max(1, workers)
    var capacity = PipePool.mostCapacity
    while capacity > PipePool.leastCapacity, capacity * PipePool.wantedPipes > share {
      capacity /= 2
    }
    self.init(limit: min(PipePool.wantedPipes, share / capacity), capacity: capacity)
  }

  deinit { for pipe in idle { PipePool.close(pipe) } }

  /// An empty pipe, or `nil`.
  public mutating func take() -> Pipe? {
    if let pipe = idle.popLast() { return pipe }
    guard open < limit else { return nil }
    var ends: (Int32, Int32) = (-1, -1)
    let made = withUnsafeMutableBytes(of: &ends) {
      pipe2($0.baseAddress?.assumingMemoryBound(to: Int32.self), O_NONBLOCK | O_CLOEXEC)
    }
    guard made == 0 else { return nil }
    var capacity = weir_fcntl(ends.1, WEIR_F_SETPIPE_SZ, Int32(self.capacity))
    if capacity < 0 { capacity = weir_fcntl(ends.1, WEIR_F_GETPIPE_SZ, 0) }
    let pipe = Pipe(input: ends.1, output: ends.0, capacity: Int(capacity))
    guard capacity >= PipePool.leastCapacity else {
      PipePool.close(pipe)
      return nil
    }
    open += 1
    return pipe
  }

  /// Takes a pipe back. One that is not empty is closed: its octets are one client's.
  public mutating func give(_ pipe: Pipe) {
    if pipe.count == 0 {
      idle.append(pipe)
    } else {
      open -= 1
      PipePool.close(pipe)
    }
  }

  private static func close(_ pipe: Pipe) {
    SocketCalls.close(pipe.input)
    SocketCalls.close(pipe.output)
  }
}

extension PipePool.Pipe {
  /// From a socket into the pipe, at most `limit` octets.
  public mutating func fill(from descriptor: Int32, atMost limit: Int) -> ReceiveResult {
    let wanted = min(limit, capacity - count)
    guard wanted > 0 else { return .wouldBlock }
    let result = SocketCalls.splice(
      from: descriptor, to: input, atMost: wanted, moreFollows: false)
    if case .octets(let moved) = result { count += moved }
    return result
  }

  /// From the pipe into a socket.
  public mutating func drain(to descriptor: Int32, moreFollows: Bool) -> ReceiveResult {
    let result = SocketCalls.splice(
      from: output, to: descriptor, atMost: count, moreFollows: moreFollows)
    if case .octets(let moved) = result { count -= moved }
    return result
  }
}
