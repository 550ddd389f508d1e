import Foundation

/// A backend whose content says at every place which key it is of and which version, and which is
/// slow at any point of an answer: before its head, behind it, within its content.
///
/// `/gGROUP/KEY`; the version is that of the moment in which the request was read. What may be done
/// with a response depends on its key (`Kind`).
public final class VersionedOrigin: Sendable {
  public enum Kind: Int, Sendable, CaseIterable {
    /// Fresh for long.
    case fresh
    /// Served stale while it is fetched anew, always.
    case refreshed
    /// Confirmed each time, stale on errors; one answer in ten is one.
    case confirmed
    /// Fresh for long; purged softly.
    case soft
  }

  public static let keys = 32
  public static let groups = 8
  private static let lengths = [64, 1_500, 6_000, 20_000, 70_000]

  private let versions = Monitor([Int](repeating: 1, count: VersionedOrigin.keys))
  public let scripted: Monitor<ScriptedOrigin?>

  public static func kind(_ key: Int) -> Kind { Kind.allCases[key % 4] }
  public static func group(_ key: Int) -> Int { key / 4 % groups }
  public static func path(_ key: Int) -> String { "/g\(group(key))/\(key)" }
  public static func length(_ key: Int) -> Int { lengths[key % lengths.count] }

  public init() throws {
    scripted = Monitor(nil)
    let versions = versions
    let origin = try ScriptedOrigin(keepLimit: 0) { connection, number in
      connection.stepSeconds = 120
      var dice = Dice(seed: UInt64(number))
      do {
        while try connection.hasMore() {
          guard try VersionedOrigin.serve(connection, versions, &dice) else { return }
        }
      } catch is WireError {}
    }
    scripted.update { $0 = origin }
  }

  public var address: String { scripted.update { $0?.address ?? "" } }

  public func stop() { scripted.update { $0?.stop() } }

  /// The keys have a new version each; returns them.
  public func bump(_ keys: [Int]) -> [(key: Int, version: Int)] {
    versions.update { versions in
      keys.map { key in
        versions[key] += 1
        return (key, versions[key])
      }
    }
  }

  // MARK: Content

  private static func piece(_ key: Int, _ version: Int) -> [UInt8] {
    let number = String(version)
    return Array(
      ("k" + (key < 10 ? "0" : "") + "\(key) v" + String(repeating: "0", count: 10 - number.count)
        + number + "\n").utf8)
  }

  public static func body(_ key: Int, _ version: Int) -> [UInt8] {
    let piece = piece(key, version)
    let length = length(key)
    return [UInt8](unsafeUninitializedCapacity: length) { room, count in
      for start in stride(from: 0, to: length, by: piece.count) {
        memcpy(room.baseAddress! + start, piece, min(piece.count, length - start))
      }
      count = length
    }
  }

  /// The version that all of these octets are of; `nil` where they are of several, or of another
  /// key.
  public static func version(of octets: [UInt8], at offset: Int = 0, _ key: Int) -> Int? {
    let size = 16
    let start = (size - offset % size) % size
    guard octets.count >= start + size,
      let version = Int(String(decoding: octets[(start + 5)..<(start + 15)], as: UTF8.self))
    else { return nil }
    let expected = body(key, version)
    guard offset + octets.count <= expected.count else { return nil }
    let isSame = expected.withUnsafeBytes {
      memcmp($0.baseAddress! + offset, octets, octets.count) == 0
    }
    return isSame ? version : nil
  }

  // MARK: Serving

  private static func pause(_ dice: inout Dice) {
    let roll = dice.below(10)
    guard roll > 5 else { return }
    var time = timespec(tv_sec: 0, tv_nsec: (dice.below(roll == 9 ? 40 : 4) * 1000 + 200) * 1000)
    nanosleep(&time, nil)
  }

  private static func fields(_ key: Int) -> String {
    let control =
      switch kind(key) {
      case .fresh: "max-age=600"
      case .refreshed: "max-age=0, stale-while-revalidate=30"
      case .confirmed: "max-age=0, stale-if-error=60"
      case .soft: "max-age=600, stale-while-revalidate=2"
      }
    return "Cache-Control: \(control)\r\nCache-Tag: k\(key), g\(group(key))\r\n"
      + (key % 8 == 7 ? "Vary: Accept-Language\r\n" : "")
  }

  /// False where the connection is over.
  private static func serve(
    _ connection: WireConnection, _ versions: Monitor<[Int]>, _ dice: inout Dice
  ) throws -> Bool {
    let head = try connection.readHead()
    let key = head.target.split(separator: "/").last.flatMap { Int($0) } ?? 0
    pause(&dice)
    if head.method == "POST" {
      versions.update { $0[key] += 1 }
      try connection.send("HTTP/1.1 204 Done\r\n\r\n")
      return true
    }
    let version = versions.update { $0[key] }
    pause(&dice)
    if kind(key) == .confirmed || kind(key) == .refreshed, dice.below(10) == 0 {
      if dice.below(2) == 0 {
        connection.reset()
        return false
      }
      try connection.send("HTTP/1.1 503 Not now\r\nContent-Length: 2\r\n\r\nno")
      return true
    }
    let tag = "ETag: \"\(key)-\(version)\"\r\n"
    if head["if-none-match"] == "\"\(key)-\(version)\"" {
      try connection.send("HTTP/1.1 304 Same\r\n\(tag)\(fields(key))\r\n")
      return true
    }
    let body = body(key, version)
    let isChunked = dice.below(2) == 0
    let framing = isChunked ? "Transfer-Encoding: chunked" : "Content-Length: \(body.count)"
    var due = Array("HTTP/1.1 200 OK\r\n\(tag)\(fields(key))\(framing)\r\n\r\n".utf8)
    if dice.below(2) == 0 {
      try connection.send(due)
      due = []
      pause(&dice)
    }
    let isCut = kind(key) == .confirmed && dice.below(40) == 0
    for part in 0..<3 {
      let piece = body[(body.count * part / 3)..<(body.count * (part + 1) / 3)]
      if isChunked { due += Array("\(String(piece.count, radix: 16))\r\n".utf8) }
      due += piece
      if isChunked { due += part == 2 ? Array("\r\n0\r\n\r\n".utf8) : [13, 10] }
      if part == 2 && isCut { return false }
      try connection.send(due)
      due = []
      pause(&dice)
    }
    return true
  }
}

/// A small seeded random generator (SplitMix64).
public struct Dice: Sendable {
  private var state: UInt64

  public init(seed: UInt64) { state = seed &* 0x2545_F491_4F6C_DD1D }

  public mutating func below(_ bound: Int) -> Int {
    state &+= 0x9E37_79B9_7F4A_7C15
    var mixed = (state ^ (state >> 30)) &* 0xBF58_476D_1CE4_E5B9
    mixed = (mixed ^ (mixed >> 27)) &* 0x94D0_49BB_1331_11EB
    return Int((mixed ^ (mixed >> 31)) % UInt64(bound))
  }
}
