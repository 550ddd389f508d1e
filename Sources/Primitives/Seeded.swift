import CXXHash

/// A small, fast, seedable random generator (SplitMix64, Steele et al. 2014).
///
/// For balancing, jitter and identifiers that need no secrecy. Same seed, same sequence, on every
/// machine: the simulation depends on it.
public struct SeededRandom: RandomNumberGenerator, Sendable {
  private var state: UInt64

  public init(seed: UInt64) { state = seed }

  public mutating func next() -> UInt64 {
    state &+= 0x9E37_79B9_7F4A_7C15
    var mixed = state
    mixed = (mixed ^ (mixed >> 30)) &* 0xBF58_476D_1CE4_E5B9
    mixed = (mixed ^ (mixed >> 27)) &* 0x94D0_49BB_1331_11EB
    return mixed ^ (mixed >> 31)
  }

  /// Uniform in `0 ..< bound`, by multiplication (Lemire 2019, without the rejection step: the
  /// bias is below bound / 2^64). `bound` must be positive.
  public mutating func below(_ bound: Int) -> Int {
    Int(truncatingIfNeeded: next().multipliedFullWidth(by: UInt64(bound)).high)
  }
}

/// The hash of everything whose position must be the same in every process and version: ring
/// points and balancing keys. XXH64, as published by its author; golden vectors are in the tests.
public enum StableHash {
  public static func of(_ bytes: ByteView, seed: UInt64 = 0) -> UInt64 {
    unsafe weir_xxh64(bytes.pointer, bytes.count, seed)
  }

  public static func of(_ string: String, seed: UInt64 = 0) -> UInt64 {
    var copy = string
    return copy.withUTF8 { unsafe weir_xxh64($0.baseAddress, $0.count, seed) }
  }
}

/// Hashes that are good for as long as the process lives: of nothing that is kept or shared.
public enum QuickHash {
  /// XXH3, 64 bits (Collet): half the instructions of `StableHash` for a URL.
  public static func of(_ bytes: ByteView, seed: UInt64) -> UInt64 {
    unsafe weir_xxh3(bytes.pointer, bytes.count, seed)
  }
}
