/// Hash of a host name or one path segment: a few multiplications, no call.
///
/// The table's keys come from the configuration alone, so nobody can fill it with collisions; a
/// request can at worst aim at one chain, whose length the build fixed. Every hit is confirmed by
/// comparing bytes.
///
/// Arithmetic on offsets here wraps instead of trapping: every offset lies inside a view whose
/// length was checked, and the checks would cost more than the hash.
enum SegmentHash {
  @inline(__always)
  static func of(_ bytes: UnsafePointer<UInt8>, _ count: Int, seed: UInt32) -> UInt32 {
    let raw = UnsafeRawPointer(bytes)
    // The length is kept apart from the bytes, or "a" could fold into the same word as "bb".
    let start = UInt64(seed) &+ 1 &+ UInt64(truncatingIfNeeded: count) &<< 33
    var hash = start &* 0x9E37_79B9_7F4A_7C15
    var offset = 0
    while count &- offset >= 8 {
      hash = mix(hash ^ raw.loadUnaligned(fromByteOffset: offset, as: UInt64.self))
      offset &+= 8
    }
    let rest = count &- offset
    if rest >= 4 {
      // Two words that overlap cover four to seven bytes.
      let low = raw.loadUnaligned(fromByteOffset: offset, as: UInt32.self)
      let high = raw.loadUnaligned(fromByteOffset: count &- 4, as: UInt32.self)
      hash = mix(hash ^ (UInt64(high) << 32 | UInt64(low)))
    } else if rest > 0 {
      let first = UInt64(bytes[offset])
      let middle = UInt64(bytes[offset &+ rest &>> 1])
      let last = UInt64(bytes[count &- 1])
      hash = mix(hash ^ (first | middle << 8 | last << 16))
    }
    // The folded product is uneven in its low bits, and the tables use those.
    return UInt32(truncatingIfNeeded: (hash &* 0x9E37_79B9_7F4A_7C15) &>> 32)
  }

  @inline(__always)
  private static func mix(_ word: UInt64) -> UInt64 {
    let product = word.multipliedFullWidth(by: 0xD6E8_FEB8_6659_FD93)
    return product.high ^ product.low
  }
}

/// Whether `count` bytes at `a` and `b` are the same: words, of which the last two may overlap.
@inline(__always)
func sameBytes(_ a: UnsafePointer<UInt8>, _ b: UnsafePointer<UInt8>, _ count: Int) -> Bool {
  let left = UnsafeRawPointer(a)
  let right = UnsafeRawPointer(b)
  if count >= 8 {
    var offset = 0
    while true {
      let difference =
        left.loadUnaligned(fromByteOffset: offset, as: UInt64.self)
        ^ right.loadUnaligned(fromByteOffset: offset, as: UInt64.self)
      if difference != 0 { return false }
      if offset == count &- 8 { return true }
      offset = min(offset &+ 8, count &- 8)
    }
  }
  if count >= 4 {
    let low =
      left.loadUnaligned(as: UInt32.self) ^ right.loadUnaligned(as: UInt32.self)
    let high =
      left.loadUnaligned(fromByteOffset: count &- 4, as: UInt32.self)
      ^ right.loadUnaligned(fromByteOffset: count &- 4, as: UInt32.self)
    return low | high == 0
  }
  for offset in 0..<count where a[offset] != b[offset] { return false }
  return true
}

/// Index of the first slash at or after `start`, or `length`: eight bytes at a time.
@inline(__always)
func nextSlash(_ bytes: UnsafePointer<UInt8>, from start: Int, _ length: Int) -> Int {
  let raw = UnsafeRawPointer(bytes)
  var index = start
  while length &- index >= 8 {
    let found = slashes(raw.loadUnaligned(fromByteOffset: index, as: UInt64.self))
    if found != 0 { return index &+ found.trailingZeroBitCount &>> 3 }
    index &+= 8
  }
  if length >= 8 {
    // The last eight bytes, without those that were looked at before.
    let seen = UInt64(truncatingIfNeeded: index &- (length &- 8))
    if seen == 8 { return length }
    let found = slashes(raw.loadUnaligned(fromByteOffset: length &- 8, as: UInt64.self))
    let rest = found &>> (seen &* 8)
    return rest == 0 ? length : index &+ rest.trailingZeroBitCount &>> 3
  }
  while index < length, bytes[index] != UInt8(ascii: "/") { index &+= 1 }
  return index
}

/// The high bit of every byte of `word` that is a slash, and no other bit. Exact in every byte, as
/// a slash before the ones looked at must not give a false one after it.
@inline(__always)
private func slashes(_ word: UInt64) -> UInt64 {
  // x86-64 and arm64 are little-endian: the first byte is the lowest.
  let difference = word.littleEndian ^ 0x2F2F_2F2F_2F2F_2F2F
  let low7 = 0x7F7F_7F7F_7F7F_7F7F as UInt64
  return ~(((difference & low7) &+ low7) | difference | low7)
}
