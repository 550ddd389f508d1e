import HTTP
import Primitives

/// The tags that a response carries for purging: of `Cache-Tag` between commas, of
/// `Surrogate-Key` between blanks, of the names that a rule adds (`xkey`) between either.
public enum CacheTags {
  /// Longer ones are left out and counted. In octets.
  public static let mostBytes = 256
  /// Of one object; further ones are left out and counted.
  public static let most = 128

  /// What became of a response's tags.
  public struct Count: Sendable, Equatable, BitwiseCopyable {
    public var taken = 0
    /// Too long, or too many: a purge by these will not find the object.
    public var dropped = 0
  }

  /// Calls `take` with each tag once; case matters.
  public static func collect(
    _ head: borrowing ResponseHead, rule: borrowing CompiledCacheRule,
    _ take: (ByteView) -> Void
  ) -> Count {
    var collector = TagCollector(head.bytes)
    collectLines(.cacheTag, head, [.comma], &collector, take)
    collectLines(.surrogateKey, head, [.blank], &collector, take)
    for index in 0..<rule.tagHeaders.count {
      var line = unsafe rule.tagHeaders[index].pointee.firstIndex(in: head.fields, head.bytes)
      while let found = line {
        let name = head.fields[found].name
        // Read above already.
        if name != .cacheTag, name != .surrogateKey {
          collector.add(head.fields[found].valueRange, [.comma, .blank], take)
        }
        line = unsafe rule.tagHeaders[index].pointee.firstIndex(
          in: head.fields, head.bytes, from: found + 1)
      }
    }
    return collector.count
  }

  private static func collectLines(
    _ name: FieldName, _ head: borrowing ResponseHead, _ separators: TagCollector.Separators,
    _ collector: inout TagCollector, _ take: (ByteView) -> Void
  ) {
    var line = head.fields.firstIndex(of: name)
    while let index = line {
      collector.add(head.fields[index].valueRange, separators, take)
      line = head.fields.firstIndex(of: name, from: index + 1)
    }
  }
}

/// Knows the tags taken so far, so that none is taken twice.
private struct TagCollector {
  struct Separators: OptionSet {
    let rawValue: UInt8
    static let comma = Separators(rawValue: 1)
    static let blank = Separators(rawValue: 2)
  }

  private let bytes: ByteView
  private var taken = InlineArray<128, ByteRange>(repeating: .empty)
  private(set) var count = CacheTags.Count()

  init(_ bytes: ByteView) { self.bytes = bytes }

  mutating func add(
    _ value: ByteRange, _ separators: Separators, _ take: (ByteView) -> Void
  ) {
    let limit = Int(value.end)
    var index = Int(value.start)
    while index < limit {
      var end = index
      while end < limit, !isSeparator(bytes[end], separators) { end += 1 }
      // Blanks around a tag between commas are not part of it.
      var start = index
      var last = end
      while start < last, ASCII.isBlank(bytes[start]) { start += 1 }
      while last > start, ASCII.isBlank(bytes[last - 1]) { last -= 1 }
      if last > start { add(ByteRange(start, last), take) }
      index = end + 1
    }
  }

  private func isSeparator(_ byte: UInt8, _ separators: Separators) -> Bool {
    separators.contains(.comma) && byte == UInt8(ascii: ",")
      || separators.contains(.blank) && ASCII.isBlank(byte)
  }

  private mutating func add(_ tag: ByteRange, _ take: (ByteView) -> Void) {
    let octets = bytes.slice(tag)
    for index in 0..<count.taken where bytes.slice(taken[index]).equals(octets) { return }
    guard tag.count <= CacheTags.mostBytes, count.taken < CacheTags.most else {
      count.dropped += 1
      return
    }
    taken[count.taken] = tag
    count.taken += 1
    take(octets)
  }
}
