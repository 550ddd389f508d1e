import Glibc
import Primitives
import Synchronization
import Testing
import Transport

@Suite struct `A mailbox` {
  private func isReadable(_ descriptor: Int32) -> Bool {
    var wanted = pollfd(fd: descriptor, events: Int16(POLLIN), revents: 0)
    return poll(&wanted, 1, 0) == 1
  }

  /// The value of the eventfd: how often it was written to.
  private func wakeUps(_ descriptor: Int32) -> UInt64 {
    var count: UInt64 = 0
    return Glibc.read(descriptor, &count, 8) == 8 ? count : 0
  }

  @Test func `wakes its receiver once for many messages, and again after they are taken`() {
    let mailbox = Mailbox<Int>()
    #expect(!isReadable(mailbox.descriptor) && mailbox.take().isEmpty)
    for round in 0..<3 {
      for message in 0..<10 { mailbox.post(round * 10 + message) }
      #expect(wakeUps(mailbox.descriptor) == 1)
      #expect(mailbox.take() == (0..<10).map { round * 10 + $0 })
    }
    mailbox.post(1)
    #expect(isReadable(mailbox.descriptor))
    #expect(mailbox.take() == [1])
    #expect(!isReadable(mailbox.descriptor))
  }

  @Test func `loses nothing from several threads, and keeps the order of each`() async {
    let mailbox = Mailbox<(sender: Int, number: Int)>()
    let perSender = 5000
    async let received: [(sender: Int, number: Int)] = withCheckedContinuation { done in
      Self.onThread {
        var found: [(sender: Int, number: Int)] = []
        // Only messages that come with a wake-up are taken, as the event loop does.
        while found.count < 4 * perSender {
          var wanted = pollfd(fd: mailbox.descriptor, events: Int16(POLLIN), revents: 0)
          guard poll(&wanted, 1, 5000) == 1 else { break }
          found += mailbox.take()
        }
        done.resume(returning: found)
      }
    }
    for sender in 0..<4 {
      Self.onThread {
        for number in 0..<perSender { mailbox.post((sender, number)) }
      }
    }
    let found = await received
    #expect(found.count == 4 * perSender)
    for sender in 0..<4 {
      #expect(found.filter { $0.sender == sender }.map(\.number) == Array(0..<perSender))
    }
  }

  /// A thread of its own: what blocks must not hold one of the test runner's.
  private static func onThread(_ body: @escaping @Sendable () -> Void) {
    final class Work: Sendable {
      let body: @Sendable () -> Void
      init(_ body: @escaping @Sendable () -> Void) { self.body = body }
    }
    var thread = pthread_t()
    let work = Unmanaged.passRetained(Work(body)).toOpaque()
    pthread_create(
      &thread, nil,
      { pointer in
        Unmanaged<Work>.fromOpaque(pointer!).takeRetainedValue().body()
        return nil
      }, work)
    pthread_detach(thread)
  }
}
