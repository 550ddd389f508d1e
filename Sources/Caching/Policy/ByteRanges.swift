import HTTP
import Primitives

/// The parts of an object that a Range field asks for (RFC 9110 §14).
public struct ByteRanges: Sendable, BitwiseCopyable {
  /// More than this in one request are answered with the whole object (safety rule 59).
  public static let most = 8

  /// Octets from `start` up to `end` of the object; never empty.
  public struct Part: Sendable, Equatable, BitwiseCopyable {
    public var start: Int
    public var end: Int
    public var count: Int { end - start }

    public init(start: Int, end: Int) {
      self.start = start
      self.end = end
    }
  }

  public enum Outcome: Sendable {
    /// No range that counts: 200 with the whole object.
    case whole
    /// 206 with Content-Range.
    case single(Part)
    /// 206 of type multipart/byteranges.
    case multiple(ByteRanges)
    /// 416 with `Content-Range: bytes */length`.
    case notSatisfiable
  }

  private var parts = InlineArray<8, Part>(repeating: Part(start: 0, end: 0))
  public private(set) var count = 0
  /// Octets in all parts.
  public private(set) var totalBytes = 0

  private init() {}

  public subscript(_ index: Int) -> Part {
    precondition(index >= 0 && index < count)
    return parts[index]
  }

  /// What a request's Range field means for an object of `length` octets. `partOverhead`: the
  /// most that one part costs in a multipart body (`MultipartRanges.mostPartHeadBytes`).
  ///
  /// The whole object is the answer to other units, malformed or overlapping ranges, more than
  /// `most`, and wherever the parts would take more than the object itself. No allocation.
  public static func parse(
    _ head: borrowing RequestHead, length: Int, partOverhead: Int
  ) -> Outcome {
    guard head.method == .get, let line = head.fields.firstIndex(of: .range),
      head.fields.firstIndex(of: .range, from: line + 1) == nil
    else { return .whole }
    return parse(head.value(line), length: length, partOverhead: partOverhead)
  }

  public static func parse(_ value: ByteView, length: Int, partOverhead: Int) -> Outcome {
    guard value.count > 6, value.slice(0, 6).equalsLowercased("bytes=") else { return .whole }
    var ranges = ByteRanges()
    var members = ListMembers(value.slice(from: 6))
    var asked = 0
    while let member = members.next() {
      asked += 1
      guard asked <= most, let range = part(member, length: length) else { return .whole }
      guard range.count > 0 else { continue }
      guard ranges.add(range) else { return .whole }
    }
    guard asked > 0 else { return .whole }
    switch ranges.count {
    case 0: return .notSatisfiable
    case 1: return .single(ranges[0])
    default:
      let cost = ranges.totalBytes + (ranges.count + 1) * partOverhead
      return cost < length ? .multiple(ranges) : .whole
    }
  }

  /// `nil` where it is malformed; empty where the object has nothing of it.
  private static func part(_ member: ByteView, length: Int) -> Part? {
    guard let dash = member.firstIndex(of: UInt8(ascii: "-")) else { return nil }
    let first = member.slice(0, dash)
    let last = member.slice(from: dash + 1)
    if first.isEmpty {
      guard let suffix = number(last) else { return nil }
      return Part(start: length - min(suffix, length), end: length)
    }
    guard let start = number(first) else { return nil }
    guard start < length else {
      // RFC 9110 §14.1.1: a last position before the first makes it invalid wherever it lies.
      guard last.isEmpty || (number(last) ?? -1) >= start else { return nil }
      return Part(start: length, end: length)
    }
    if last.isEmpty { return Part(start: start, end: length) }
    guard let end = number(last), end >= start else { return nil }
    return Part(start: start, end: min(end, length - 1) + 1)
  }

  /// Digits only; saturates far above every length.
  private static func number(_ text: ByteView) -> Int? {
    guard !text.isEmpty else { return nil }
    var value = 0
    for index in 0..<text.count {
      guard ASCII.isDigit(text[index]) else { return nil }
      value = min(value * 10 + Int(text[index] - UInt8(ascii: "0")), 1 << 58)
    }
    return value
  }

  /// False where it overlaps one that is there.
  private mutating func add(_ part: Part) -> Bool {
    for index in 0..<count where part.start < parts[index].end && parts[index].start < part.end {
      return false
    }
    parts[count] = part
    count += 1
    totalBytes += part.count
    return true
  }
}

extension ByteRanges.Outcome: Equatable {
  public static func == (a: ByteRanges.Outcome, b: ByteRanges.Outcome) -> Bool {
    switch (a, b) {
    case (.whole, .whole), (.notSatisfiable, .notSatisfiable): return true
    case (.single(let one), .single(let other)): return one == other
    case (.multiple(let some), .multiple(let others)):
      guard some.count == others.count else { return false }
      for index in 0..<some.count where some[index] != others[index] { return false }
      return true
    default: return false
    }
  }
}

/// Renders what a partial response needs (RFC 9110 §14.4 and §14.6).
///
/// A body of several parts is, for each of them, `appendPartHead` and the octets, and at the end
/// `appendEnd`; `contentLength` is exactly what that takes.
public struct MultipartRanges: Sendable, BitwiseCopyable {
  /// Told apart from content by 64 random bits, drawn for each response.
  public let boundary: UInt64
  public let ranges: ByteRanges
  /// Of the whole object.
  public let length: Int

  public init(_ ranges: ByteRanges, length: Int, boundary: UInt64) {
    self.ranges = ranges
    self.length = length
    self.boundary = boundary
  }

  /// Of one part, whatever its numbers; the end takes less.
  public static func mostPartHeadBytes(contentTypeBytes: Int) -> Int { contentTypeBytes + 148 }

  /// `Content-Range: bytes 0-99/1234` with CRLF.
  public static func appendContentRange(
    _ part: ByteRanges.Part, length: Int, to sink: inout ByteSink
  ) {
    sink.append("Content-Range: bytes ")
    sink.append(decimal: part.start)
    sink.append(byte: UInt8(ascii: "-"))
    sink.append(decimal: part.end - 1)
    sink.append(byte: UInt8(ascii: "/"))
    sink.append(decimal: length)
    sink.append("\r\n")
  }

  /// `Content-Range: bytes */1234` with CRLF, for 416.
  public static func appendUnsatisfied(length: Int, to sink: inout ByteSink) {
    sink.append("Content-Range: bytes */")
    sink.append(decimal: length)
    sink.append("\r\n")
  }

  /// `Content-Type: multipart/byteranges; boundary=…` with CRLF; it stands instead of the
  /// object's own.
  public func appendContentType(to sink: inout ByteSink) {
    sink.append("Content-Type: multipart/byteranges; boundary=")
    sink.append(hex16: boundary)
    sink.append("\r\n")
  }

  /// What stands before the octets of a part. `contentType` is the object's; empty: none.
  public func appendPartHead(
    _ index: Int, contentType: ByteView, to sink: inout ByteSink
  ) {
    if index > 0 { sink.append("\r\n") }
    sink.append("--")
    sink.append(hex16: boundary)
    sink.append("\r\n")
    if !contentType.isEmpty {
      sink.append("Content-Type: ")
      sink.append(contentType)
      sink.append("\r\n")
    }
    MultipartRanges.appendContentRange(ranges[index], length: length, to: &sink)
    sink.append("\r\n")
  }

  public func appendEnd(to sink: inout ByteSink) {
    sink.append("\r\n--")
    sink.append(hex16: boundary)
    sink.append("--\r\n")
  }

  /// Of the whole body, in octets.
  public func contentLength(contentTypeBytes: Int) -> Int {
    let typeLine = contentTypeBytes == 0 ? 0 : 14 + contentTypeBytes + 2
    var total = ranges.totalBytes + 24
    for index in 0..<ranges.count {
      let part = ranges[index]
      let digits =
        decimalDigits(part.start) + decimalDigits(part.end - 1) + decimalDigits(length)
      total += (index > 0 ? 2 : 0) + 20 + typeLine + 21 + digits + 2 + 2 + 2
    }
    return total
  }

  private func decimalDigits(_ value: Int) -> Int {
    var digits = 1
    var rest = value / 10
    while rest > 0 {
      digits += 1
      rest /= 10
    }
    return digits
  }
}
