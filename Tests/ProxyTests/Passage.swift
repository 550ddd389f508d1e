import CLinux
import Glibc
import HTTP
import Primitives
import Transport

@testable import Proxy

/// A relay between two socket pairs: what is fed on one side and read on the other.
final class Passage {
  private var relay: Relay
  var pool: BufferPool
  var content: Content
  private var head: ByteSink
  private let headRoom: UnsafeMutablePointer<UInt8>
  let source: UnsafeMutablePointer<Wire>
  let sink: UnsafeMutablePointer<Wire>
  private var feeder: Int32
  private var reader: Int32
  private(set) var received: [UInt8] = []
  /// A pipe was made.
  var hasSpliced: Bool { relay.pipes.open > 0 }
  /// Most blocks in use when the relay came back.
  private(set) var mostBlocks = 0

  init(_ content: Content, head text: String = "", pipes: Int = 4, blocks: Int = 64) {
    relay = Relay(pipes: PipePool(limit: pipes))
    pool = BufferPool(limit: blocks)
    self.content = content
    headRoom = .allocate(capacity: 8192)
    head = ByteSink(base: headRoom, capacity: 8192)
    head.append(string: text)
    let (feeding, from) = Passage.pair()
    let (reading, to) = Passage.pair()
    (feeder, reader) = (feeding, reading)
    source = .allocate(capacity: 1)
    source.initialize(to: Wire(descriptor: from))
    sink = .allocate(capacity: 1)
    sink.initialize(to: Wire(descriptor: to))
  }

  deinit {
    relay.endSplicing(&content)
    source.pointee.releaseBuffers(&pool)
    sink.pointee.releaseBuffers(&pool)
    for descriptor in [feeder, reader, source.pointee.descriptor, sink.pointee.descriptor] {
      SocketCalls.close(descriptor)
    }
    source.deallocate()
    sink.deallocate()
    headRoom.deallocate()
  }

  private static func pair() -> (Int32, Int32) {
    var ends: [Int32] = [-1, -1]
    let type = Int32(SOCK_STREAM.rawValue) | Int32(SOCK_NONBLOCK.rawValue)
    precondition(socketpair(AF_UNIX, type, 0, &ends) == 0)
    for end in ends {
      var octets: Int32 = 64 * 1024
      setsockopt(end, SOL_SOCKET, SO_SNDBUF, &octets, 4)
    }
    return (ends[0], ends[1])
  }

  func pump() -> RelayOutcome {
    source.pointee.note(.readable)
    sink.pointee.note(.writable)
    let outcome = Passage.withoutBrokenPipeSignal {
      relay.pump(
        from: source, to: sink, content: &content, head: &head, pool: &pool)
    }
    mostBlocks = max(mostBlocks, pool.inUse)
    return outcome
  }

  /// The daemon ignores SIGPIPE as a whole. Other tests of this process must see that no call but
  /// splice raises it, so here it is kept away from one thread for one call.
  private static func withoutBrokenPipeSignal<Result>(_ body: () -> Result) -> Result {
    var signals = sigset_t()
    var before = sigset_t()
    sigemptyset(&signals)
    sigaddset(&signals, SIGPIPE)
    pthread_sigmask(SIG_BLOCK, &signals, &before)
    defer {
      var now = timespec()
      while sigtimedwait(&signals, nil, &now) > 0 {}
      pthread_sigmask(SIG_SETMASK, &before, nil)
    }
    return body()
  }

  func endSplicing() { relay.endSplicing(&content) }

  /// Octets that the socket took.
  func feed(_ bytes: ArraySlice<UInt8>) -> Int {
    guard !bytes.isEmpty else { return 0 }
    let result = bytes.withUnsafeBufferPointer { SocketCalls.send(feeder, ByteView($0)) }
    if case .octets(let count) = result { return count }
    return 0
  }

  func feed(_ text: String) { _ = feed(Array(text.utf8)[...]) }

  func endSource() { SocketCalls.closeSending(feeder) }

  /// The peer goes away with octets of ours unread, which this kind of socket tells as a reset.
  func resetSource() {
    _ = SocketCalls.send(source.pointee.descriptor, ByteView("unread"))
    SocketCalls.close(feeder)
    feeder = -1
  }

  func closeReader() {
    SocketCalls.close(reader)
    reader = -1
  }

  /// Takes what has arrived behind the sink.
  @discardableResult
  func drain() -> Int {
    var buffer = [UInt8](repeating: 0, count: 64 * 1024)
    var count = 0
    while case .octets(let read) = SocketCalls.receive(reader, &buffer, buffer.count) {
      received += buffer[..<read]
      count += read
    }
    return count
  }

  var text: String { String(decoding: received, as: UTF8.self) }
  /// What the source has sent beyond the content.
  var unread: String { source.pointee.input.view.string }

  enum Ending { case open, closed, reset }

  /// Feeds the pieces one after the other, each when the last has been moved, and reads all that
  /// comes; returns the first outcome from which nothing moves on.
  func run(_ pieces: [[UInt8]], then ending: Ending = .open) -> RelayOutcome {
    var waiting = pieces.filter { !$0.isEmpty }[...]
    var hasEnded = false
    for _ in 0..<100_000 {
      let outcome = pump()
      let moved = drain()
      switch outcome {
      case .needsSink, .yields: continue
      case .needsSource:
        if let piece = waiting.popFirst() {
          let count = feed(piece[...])
          if count < piece.count { waiting.insert(Array(piece[count...]), at: waiting.startIndex) }
        } else if !hasEnded, ending != .open {
          hasEnded = true
          ending == .closed ? endSource() : resetSource()
        } else if moved == 0 {
          return outcome
        }
      case .complete:
        while !sink.pointee.output.isEmpty {
          sink.pointee.note(.writable)
          _ = sink.pointee.flush(&pool)
          if drain() == 0 { break }
        }
        drain()
        return outcome
      default: return outcome
      }
    }
    return .yields
  }
}
