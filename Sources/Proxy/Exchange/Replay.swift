import Primitives
import Transport

/// Content of a request that has left its client's buffer, kept so that it can be sent again: at
/// most `limitBytes` of a request whose length is known and which may be sent twice.
///
///     off ──keep──► on ──no block left──► broken
struct Replay: BitwiseCopyable {
  /// Longest content that is kept.
  static let limitBytes = 64 * 1024 - 1

  private var kept = OutputQueue()
  private(set) var isOn = false
  /// All that was kept is to be sent before anything else.
  private(set) var isDue = false

  mutating func keep() { isOn = true }

  var count: Int { kept.count }

  /// These octets are being handed on.
  mutating func append(_ octets: ByteView, _ pool: inout BufferPool) {
    guard !kept.append(octets, &pool) else { return }
    end(&pool)
  }

  /// The next attempt begins.
  mutating func rewind() { isDue = isOn && kept.count > 0 }

  /// Sends the head and what was kept. False where the connection has failed or no block is left.
  mutating func send(
    to sink: UnsafeMutablePointer<Wire>, _ head: inout ByteSink, _ pool: inout BufferPool
  ) -> Bool {
    isDue = false
    let sent = kept.visit { octets in
      let sent = sink.pointee.send(head.view, octets, &pool)
      head.removeAll()
      return sent
    }
    return sent
  }

  mutating func end(_ pool: inout BufferPool) {
    kept.removeAll(&pool)
    isOn = false
    isDue = false
  }
}
