import HTTP
import Primitives

/// Which fields of the request a response was chosen by (RFC 9111 §4.1, RFC 9110 §12.5.5).
public enum Vary {
  /// A response that names more is not stored: every lookup would read them all.
  public static let mostNames = 16
  /// Octets of the canonical list; names beyond that are no honest Vary.
  public static let mostNameBytes = 512

  /// Fields that weir writes itself, anew for each client or request: a client's own value says
  /// nothing of what the backend saw, so a response chosen by one of them answers nobody else.
  /// (X-Forwarded-Proto and -Host follow from the key.)
  static let personal = FieldSet(
    .xForwardedFor, .forwarded, .xRequestId, .traceparent, .tracestate, .xClientCertSha256,
    .xClientCertSubject)

  public enum Outcome: Sendable, Equatable, BitwiseCopyable {
    /// Every request for the key gets it.
    case none
    /// So many octets of names were appended.
    case names(Int)
    /// `*`, malformed, too much, or what weir writes itself: it answers no other request.
    case unbearable
  }

  /// Appends the canonical list: lower case, sorted, each name once, with commas between.
  public static func append(
    _ head: borrowing ResponseHead, to sink: inout ByteSink
  ) -> Outcome {
    guard head.fields.contains(.vary) else { return .none }
    guard let names = names(head) else { return .unbearable }
    let start = sink.count
    for (index, name) in names.enumerated() {
      if index > 0 { sink.append(byte: UInt8(ascii: ",")) }
      sink.append(name)
    }
    guard !sink.overflowed else { return .unbearable }
    return names.isEmpty ? .none : .names(sink.count - start)
  }

  static func isBearable(_ head: borrowing ResponseHead) -> Bool { names(head) != nil }

  private static func names(_ head: borrowing ResponseHead) -> [[UInt8]]? {
    var names: [[UInt8]] = []
    var octets = 0
    var line = head.fields.firstIndex(of: .vary)
    while let index = line {
      var members = ListMembers(head.value(index))
      while let member = members.next() {
        // Not a token: `*` is one, so it has to be looked for.
        guard member.endOfToken(from: 0) == member.count, !member.equals("*") else { return nil }
        guard !personal.contains(FieldName(member)) else { return nil }
        let name = member.array.map(ASCII.lowercased)
        guard !names.contains(name) else { continue }
        octets += name.count + 1
        guard names.count < mostNames, octets <= mostNameBytes else { return nil }
        names.append(name)
      }
      line = head.fields.firstIndex(of: .vary, from: index + 1)
    }
    return names.sorted { $0.lexicographicallyPrecedes($1) }
  }

  /// Octets that stand for "the request has no such field".
  private static let absent: UInt32 = .max
  /// A set of content codings follows instead of a value.
  private static let codings: UInt32 = .max - 1

  /// Appends the values that a request has for `names` (as `append` made them), so that two
  /// requests select the same response exactly where the octets are equal. No allocation.
  ///
  /// Lines of one name count as one list (RFC 9110 §5.3). Accept-Encoding is reduced to the set
  /// of codings it accepts (`AcceptedCodings`); every other field stays as it was sent.
  public static func appendSecondaryKey(
    names: ByteView, _ head: borrowing RequestHead, to sink: inout ByteSink
  ) {
    var members = ListMembers(names)
    while let name = members.next() {
      let known = FieldName(name)
      if known == .acceptEncoding, let set = AcceptedCodings(head) {
        sink.append(word: codings)
        sink.append(byte: set.rawValue)
        continue
      }
      var length = 0
      var count = 0
      var line = firstIndex(known, name, head, from: 0)
      while let index = line {
        length += head.value(index).count + (count > 0 ? 2 : 0)
        count += 1
        line = firstIndex(known, name, head, from: index + 1)
      }
      sink.append(word: count == 0 ? absent : UInt32(length))
      guard count > 0 else { continue }
      line = firstIndex(known, name, head, from: 0)
      while let index = line {
        sink.append(head.value(index))
        count -= 1
        if count > 0 { sink.append(", ") }
        line = firstIndex(known, name, head, from: index + 1)
      }
    }
  }

  @inline(__always)
  private static func firstIndex(
    _ known: FieldName, _ name: ByteView, _ head: borrowing RequestHead, from start: Int
  ) -> Int? {
    if known != .other { return head.fields.firstIndex(of: known, from: start) }
    return head.fields.firstIndex(named: name, in: head.bytes, from: start)
  }
}

/// The content codings that a request accepts (RFC 9110 §12.5.3), where it names only those that
/// are listed here: then any response that one request accepts is acceptable to all with the same
/// set, whatever the order and weights. A request with `*` or another coding that it accepts is
/// known by its field as sent.
public struct AcceptedCodings: OptionSet, Sendable, BitwiseCopyable {
  public let rawValue: UInt8
  public init(rawValue: UInt8) { self.rawValue = rawValue }

  public static let brotli = AcceptedCodings(rawValue: 1)
  public static let gzip = AcceptedCodings(rawValue: 2)
  public static let zstandard = AcceptedCodings(rawValue: 4)
  public static let deflate = AcceptedCodings(rawValue: 8)
  /// Cleared by `identity;q=0` and `*;q=0`.
  public static let identity = AcceptedCodings(rawValue: 16)

  /// `nil` where the field is absent, malformed, or names others.
  public init?(_ head: borrowing RequestHead) {
    guard var line = head.fields.firstIndex(of: .acceptEncoding) else { return nil }
    self = .identity
    var refusesRest = false
    var namesIdentity = false
    while true {
      var members = ListMembers(head.value(line))
      while let member = members.next() {
        let end = member.firstIndex(of: UInt8(ascii: ";")) ?? member.count
        let coding = member.slice(0, end).trimmed()
        guard let accepts = AcceptedCodings.isAccepted(member.slice(from: end)) else {
          return nil
        }
        if coding.equals("*") {
          if accepts { return nil }
          refusesRest = true
        } else if coding.equalsLowercased("identity") {
          namesIdentity = true
          if accepts { insert(.identity) } else { remove(.identity) }
        } else if let known = AcceptedCodings.named(coding) {
          if accepts { insert(known) } else { remove(known) }
        } else if accepts {
          return nil
        }
      }
      guard let next = head.fields.firstIndex(of: .acceptEncoding, from: line + 1) else { break }
      line = next
    }
    if refusesRest, !namesIdentity { remove(.identity) }
  }

  private static func named(_ coding: ByteView) -> AcceptedCodings? {
    if coding.equalsLowercased("gzip") || coding.equalsLowercased("x-gzip") { return .gzip }
    if coding.equalsLowercased("br") { return .brotli }
    if coding.equalsLowercased("zstd") { return .zstandard }
    return coding.equalsLowercased("deflate") ? .deflate : nil
  }

  /// Whether the weight is above zero (RFC 9110 §12.4.2); `nil` where it is malformed.
  private static func isAccepted(_ parameters: ByteView) -> Bool? {
    if parameters.isEmpty { return true }
    let weight = parameters.slice(from: 1).trimmed()
    guard weight.count >= 3, weight.slice(0, 2).equalsLowercased("q=") else { return nil }
    let number = weight.slice(from: 2)
    guard number.count <= 5, number[0] == UInt8(ascii: "0") || number[0] == UInt8(ascii: "1"),
      number.count == 1 || number[1] == UInt8(ascii: ".")
    else { return nil }
    var isAboveZero = number[0] == UInt8(ascii: "1")
    for index in min(2, number.count)..<number.count {
      guard ASCII.isDigit(number[index]) else { return nil }
      if number[index] != UInt8(ascii: "0") {
        if number[0] == UInt8(ascii: "1") { return nil }
        isAboveZero = true
      }
    }
    return isAboveZero
  }
}
