import COpenSSL
import Glibc
import Primitives

/// The keys that seal session tickets: the newest one seals, older ones still open theirs.
///
/// Pure: time and randomness are arguments. Keys live only in memory, and a key that has gone
/// cannot open anything any more: who records the traffic and later gets hold of the process finds
/// the keys of the last `lifetime` only.
public struct TicketKeyRing: Sendable {
  /// One key: its name travels in the ticket, the rest never leaves the process.
  public struct Key: Sendable, Equatable {
    public static let octets = 16 + 32 + 32
    /// 16 octets name, 32 AES-256, 32 HMAC-SHA-256.
    public var material: [UInt8]
    public var madeAt: MonotonicTime

    public var name: ArraySlice<UInt8> { material[..<16] }
    var cipherKey: ArraySlice<UInt8> { material[16..<48] }
    var macKey: ArraySlice<UInt8> { material[48..<80] }
  }

  /// A key seals for this long, and opens for as long as its last ticket may live.
  public static let rotation = TimeAmount.seconds(3600)
  /// Of a ticket, told to clients.
  public static let ticketLifetime = TimeAmount.seconds(7200)

  /// The newest first.
  public private(set) var keys: [Key] = []

  public init() {}

  /// The key to seal with. `random` is asked for a new one only when it is due.
  public mutating func sealing(now: MonotonicTime, _ random: () -> [UInt8]) -> Key {
    if let newest = keys.first, now - newest.madeAt < TicketKeyRing.rotation { return newest }
    let key = Key(material: random(), madeAt: now)
    keys.insert(key, at: 0)
    forgetOld(now)
    return key
  }

  /// The key of that name, and whether a new ticket should replace this one.
  public mutating func opening(
    name: some Collection<UInt8>, now: MonotonicTime
  ) -> (key: Key, isOld: Bool)? {
    forgetOld(now)
    guard let index = keys.firstIndex(where: { $0.name.elementsEqual(name) }) else { return nil }
    let isOld = index > 0 || now - keys[0].madeAt >= TicketKeyRing.rotation
    return (keys[index], isOld)
  }

  private mutating func forgetOld(_ now: MonotonicTime) {
    while let oldest = keys.last,
      now - (oldest.madeAt + TicketKeyRing.rotation) >= TicketKeyRing.ticketLifetime
    { keys.removeLast() }
  }
}

/// The one key ring of the process: shared by all workers and listeners, and kept across reloads,
/// so that a session resumes wherever its client connects next. Its lock is held for a copy.
public final class SessionTickets: Sendable {
  private let ring = Lock(TicketKeyRing())

  public init() {}

  func sealing(now: MonotonicTime) -> TicketKeyRing.Key {
    ring.withLock { $0.sealing(now: now, SessionTickets.randomKey) }
  }

  func opening(
    _ name: UnsafeBufferPointer<UInt8>, now: MonotonicTime
  ) -> (key: TicketKeyRing.Key, isOld: Bool)? {
    ring.withLock { $0.opening(name: name, now: now) }
  }

  private static func randomKey() -> [UInt8] {
    var octets = [UInt8](repeating: 0, count: TicketKeyRing.Key.octets)
    // Sealing with a key that is not random would hand every session to everybody.
    precondition(RAND_priv_bytes(&octets, Int32(octets.count)) == 1, "no randomness for keys")
    return octets
  }
}
