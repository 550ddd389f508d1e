/// Hash of a host name or one path segment: a few multiplications, no call.
///
/// The table's keys come from the configuration alone, so nobody can fill it with collisions; a
/// request can at worst aim at one chain, whose length the build fixed. Every hit is confirmed by
/// comparing bytes.
enum SegmentHash {
  @inline(__always)
  static func of(_ bytes: UnsafePointer<UInt8>, _ count: Int, seed: UInt32) -> UInt32 {
    let raw = UnsafeRawPointer(bytes)
    var hash = (UInt64(seed) &+ 1) &* 0x9E37_79B9_7F4A_7C15 ^ UInt64(truncatingIfNeeded: count)
    var offset = 0
    while count - offset >= 8 {
      hash = mix(hash ^ raw.loadUnaligned(fromByteOffset: offset, as: UInt64.self))
      offset += 8
    }
    let rest = count - offset
    if rest >= 4 {
      // Two words that overlap cover four to seven bytes.
      let low = raw.loadUnaligned(fromByteOffset: offset, as: UInt32.self)
      let high = raw.loadUnaligned(fromByteOffset: count - 4, as: UInt32.self)
      hash = mix(hash ^ (UInt64(high) << 32 | UInt64(low)))
    } else if rest > 0 {
      let first = UInt64(bytes[offset])
      let middle = UInt64(bytes[offset + rest / 2])
      let last = UInt64(bytes[count - 1])
      hash = mix(hash ^ (first | middle << 8 | last << 16))
    }
    hash = mix(hash)
    return UInt32(truncatingIfNeeded: hash >> 32) ^ UInt32(truncatingIfNeeded: hash)
  }

  @inline(__always)
  private static func mix(_ word: UInt64) -> UInt64 {
    let product = word.multipliedFullWidth(by: 0xD6E8_FEB8_6659_FD93)
    return product.high ^ product.low
  }
}

/// Whether `count` bytes at `a` and `b` are the same.
@inline(__always)
func sameBytes(_ a: UnsafePointer<UInt8>, _ b: UnsafePointer<UInt8>, _ count: Int) -> Bool {
  let left = UnsafeRawPointer(a)
  let right = UnsafeRawPointer(b)
  var offset = 0
  while count - offset >= 8 {
    if left.loadUnaligned(fromByteOffset: offset, as: UInt64.self)
      != right.loadUnaligned(fromByteOffset: offset, as: UInt64.self)
    {
      return false
    }
    offset += 8
  }
  while offset < count {
    if a[offset] != b[offset] { return false }
    offset += 1
  }
  return true
}
