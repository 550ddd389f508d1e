import HTTP
import Primitives

/// The validators of a stored response.
public struct StoredValidators {
  /// The ETag field's value; empty where it has none.
  public var etag: ByteView
  /// The Last-Modified field's value; empty where it has none.
  public var lastModified: ByteView
  /// Seconds since the Unix epoch: Date, or when the response was received.
  public var dateSeconds: Int64

  public init(etag: ByteView, lastModified: ByteView, dateSeconds: Int64) {
    self.etag = etag
    self.lastModified = lastModified
    self.dateSeconds = dateSeconds
  }
}

/// Conditional requests of clients, answered from the store (RFC 9110 §13, RFC 9111 §4.3.2). No
/// allocation.
public enum ConditionalRequest {
  public enum Outcome: UInt8, Sendable, BitwiseCopyable {
    /// The client has it already: 304.
    case notModified
    /// The stored response, whole or in ranges.
    case full
  }

  /// For a response that is about to be served with `status`. If-Match and If-Unmodified-Since
  /// never come here: `RequestPolicy` sends them to the backend.
  public static func evaluate(
    _ head: borrowing RequestHead, status: Int, _ stored: StoredValidators
  ) -> Outcome {
    // RFC 9110 §13.2.1: a response that is no success has no preconditions.
    guard (200..<300).contains(status) else { return .full }
    if head.fields.contains(.ifNoneMatch) {
      return matchesAny(head, stored.etag) ? .notModified : .full
    }
    guard head.method == .get || head.method == .head,
      let since = modifiedSince(head, now: stored.dateSeconds)
    else { return .full }
    let changed =
      HTTPDate.parse(stored.lastModified, now: stored.dateSeconds) ?? stored.dateSeconds
    return changed <= since ? .notModified : .full
  }

  /// RFC 9110 §13.1.2: `*`, or the weak comparison with any member of the list.
  private static func matchesAny(_ head: borrowing RequestHead, _ etag: ByteView) -> Bool {
    var line = head.fields.firstIndex(of: .ifNoneMatch)
    while let index = line {
      let value = head.value(index)
      if value.trimmed().equals("*") { return true }
      var tags = EntityTags(value)
      while let tag = tags.next() {
        if !etag.isEmpty, EntityTags.opaque(tag).equals(EntityTags.opaque(etag)) { return true }
      }
      line = head.fields.firstIndex(of: .ifNoneMatch, from: index + 1)
    }
    return false
  }

  /// RFC 9110 §13.1.3: one valid date, else the field is ignored.
  private static func modifiedSince(_ head: borrowing RequestHead, now: Int64) -> Int64? {
    guard let line = head.fields.firstIndex(of: .ifModifiedSince),
      head.fields.firstIndex(of: .ifModifiedSince, from: line + 1) == nil
    else { return nil }
    return HTTPDate.parse(head.value(line), now: now)
  }

  /// Whether a Range field counts: there is no If-Range, or it names exactly what is stored, by
  /// the strong comparison (RFC 9110 §13.1.5). False: the whole response is sent.
  public static func allowsRange(
    _ head: borrowing RequestHead, _ stored: StoredValidators
  ) -> Bool {
    guard let line = head.fields.firstIndex(of: .ifRange) else { return true }
    guard head.fields.firstIndex(of: .ifRange, from: line + 1) == nil else { return false }
    let value = head.value(line)
    if value.count > 0, value[0] == UInt8(ascii: "\"") { return value.equals(stored.etag) }
    // RFC 9110 §8.8.2.2: a date is a strong validator only where the response was made at least
    // a second after it, and only the same octets are the same date to §13.1.5.
    guard !value.isEmpty, value.equals(stored.lastModified),
      let modified = HTTPDate.parse(value, now: stored.dateSeconds)
    else { return false }
    return stored.dateSeconds - modified >= 1
  }
}

/// Walks a list of entity tags (RFC 9110 §8.8.3), whose quoted parts may hold commas.
struct EntityTags {
  private let value: ByteView
  private var index = 0

  init(_ value: ByteView) { self.value = value }

  /// Without its `W/`, with its quotes.
  static func opaque(_ tag: ByteView) -> ByteView {
    tag.hasPrefix("W/") ? tag.slice(from: 2) : tag
  }

  /// A member as it stands; one without quotes reaches to the next comma, for some origins send
  /// tags so.
  mutating func next() -> ByteView? {
    while index < value.count, value[index] == UInt8(ascii: ",") || ASCII.isBlank(value[index]) {
      index += 1
    }
    guard index < value.count else { return nil }
    let start = index
    let mark = value.slice(from: start).hasPrefix("W/") ? start + 2 : start
    if mark < value.count, value[mark] == UInt8(ascii: "\""),
      let close = value.firstIndex(of: UInt8(ascii: "\""), from: mark + 1)
    {
      index = close + 1
      return value.slice(start, index)
    }
    index = value.firstIndex(of: UInt8(ascii: ","), from: start) ?? value.count
    return value.slice(start, index).trimmed()
  }
}
