import Glibc
import Primitives
import Testing
import Transport

@Suite struct `The pipe pool` {
  @Test func `gives as many pipes as its limit, and an empty one again`() throws {
    var pool = PipePool(limit: 2)
    guard let first = pool.take(), let second = pool.take() else {
      Issue.record("no pipe")
      return
    }
    let third = pool.take()
    #expect(third == nil && first.isOpen && second.isOpen && first.count == 0)
    pool.give(first)
    let again = pool.take()
    let none = pool.take()
    #expect(again != nil && none == nil)
    pool.give(second)
    if let again { pool.give(again) }
  }

  /// 16,384 pages of 4 KiB are a user's without privileges; what is over is for others.
  @Test func `of all workers stay within a user's quota, and are none too few`() {
    for workers in 1...256 {
      let pool = PipePool(workers: workers)
      #expect(pool.limit * pool.capacity * workers <= 12_288 * 4096)
      #expect(pool.limit > 0 && pool.capacity >= 64 * 1024 && pool.capacity <= 512 * 1024)
      #expect(pool.limit == 96 || workers > 8, "\(workers) workers: \(pool.limit)")
    }
    let alone = PipePool(workers: 1)
    #expect(alone.limit == 96 && alone.capacity == 512 * 1024)
  }

  /// A pipe with octets of one client in it must never serve another.
  @Test func `closes a pipe that is not empty, and has room for a new one then`() throws {
    let pair = try SocketPair()
    let other = try SocketPair()
    var pool = PipePool(limit: 1)
    guard var pipe = pool.take() else {
      Issue.record("no pipe")
      return
    }
    #expect(SocketCalls.send(pair.far, ByteView("secret")) == .octets(6))
    #expect(SocketPair.waits(for: pair.near, POLLIN))
    #expect(pipe.fill(from: pair.near, atMost: 100) == .octets(6) && pipe.count == 6)
    pool.give(pipe)
    guard var next = pool.take() else {
      Issue.record("the place was not given back")
      return
    }
    #expect(next.count == 0)
    #expect(SocketCalls.send(pair.far, ByteView("mine")) == .octets(4))
    #expect(SocketPair.waits(for: pair.near, POLLIN))
    #expect(next.fill(from: pair.near, atMost: 3) == .octets(3))
    #expect(next.drain(to: other.near, moreFollows: false) == .octets(3) && next.count == 0)
    #expect(SocketPair.read(other.far, count: 3) == Array("min".utf8))
    #expect(next.fill(from: pair.near, atMost: 0) == .wouldBlock)
    #expect(next.fill(from: pair.near, atMost: 100) == .octets(1))
    #expect(next.fill(from: pair.near, atMost: 100) == .wouldBlock)
    SocketCalls.closeSending(pair.far)
    #expect(SocketPair.waits(for: pair.near, SocketPair.peerClosed))
    #expect(next.fill(from: pair.near, atMost: 100) == .ended)
    #expect(next.drain(to: other.near, moreFollows: false) == .octets(1))
    pool.give(next)
  }
}
