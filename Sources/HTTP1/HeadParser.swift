import HTTP
import Primitives

/// Bytes to heads, HTTP/1 (RFC 9112 §2–§6), without IO and without state.
///
/// A head is parsed from its first octet each time: callers ask again only when a line feed has
/// arrived (`mayHaveProgressed`), so a head that drips in costs at most one pass for each line. No
/// octet is accepted that two parsers could read differently; the rules are numbered in
/// docs/THREAT-MODEL.md.
public enum HeadParser {
  /// Longest accepted method (rule 9), in octets.
  public static let maxMethodBytes = 32
  private static let cr = UInt8(ascii: "\r")
  private static let lf = UInt8(ascii: "\n")
  private static let space = UInt8(ascii: " ")

  /// Whether octets from `known` on can change what parsing says: they hold a line feed, or the
  /// head has become so long that a limit may be passed.
  @inlinable @inline(__always)
  public static func mayHaveProgressed(_ bytes: ByteView, known: Int) -> Bool {
    known == 0 || holdsLineEnd(bytes, from: known)
  }

  @usableFromInline
  static func holdsLineEnd(_ bytes: ByteView, from known: Int) -> Bool {
    known >> 10 != bytes.count >> 10 || bytes.firstIndex(of: lf, from: known) != nil
  }

  /// Parses a request head from the front of `bytes`. Returns its length including the blank
  /// line, or 0 where more octets are needed.
  ///
  /// Throws the status to answer before closing: 400, 405, 414, 417, 431, 501 or 505.
  public static func parseRequest(
    _ bytes: ByteView, into head: inout RequestHead, limits: borrowing HeadLimits,
    strictPath: Bool = false
  ) throws(HeadFault) -> Int {
    // What a head may not reach is not looked at: the answer does not depend on how it arrived.
    let bytes = bytes.slice(0, min(bytes.count, limits.maxBytes))
    head.reset(bytes)
    var index = 0
    // RFC 9112 §2.2: one empty line before a request line is tolerated (rule 15).
    if bytes.count > 0, bytes[0] == cr {
      guard bytes.count > 1 else { return 0 }
      guard bytes[1] == lf else { throw .bad("bare CR") }
      index = 2
    }
    index = try parseRequestLine(bytes, from: index, into: &head, limits: limits)
    guard index > 0 else {
      if bytes.count == limits.maxBytes { throw HeadFault(431, "head over the limit") }
      return 0
    }
    let end = try parseFields(bytes, from: index, into: &head.fields, limits: limits)
    guard end > 0 else { return 0 }
    head.bytes = bytes.slice(0, end)
    if head.method == .connect || head.method == .trace {
      throw HeadFault(405, "CONNECT and TRACE are not served")
    }
    try head.resolveTarget(strictPath: strictPath)
    try RequestRules.apply(to: &head)
    return end
  }

  /// Parses a response head as `parseRequest` does a request's. `isHead`: it answers a HEAD
  /// request. Throws 502 for whatever a backend may not send (rules 21 and 24).
  public static func parseResponse(
    _ bytes: ByteView, into head: inout ResponseHead, limits: borrowing HeadLimits, isHead: Bool
  ) throws(HeadFault) -> Int {
    let bytes = bytes.slice(0, min(bytes.count, limits.maxBytes))
    head.bytes = bytes
    head.fields.removeAll()
    let index: Int
    let end: Int
    do throws(HeadFault) {
      index = try parseStatusLine(bytes, into: &head)
      guard index > 0 else {
        if bytes.count >= limits.maxBytes { throw .bad("status line too long") }
        return 0
      }
      end = try parseFields(bytes, from: index, into: &head.fields, limits: limits)
      guard end > 0 else { return 0 }
      head.bytes = bytes.slice(0, end)
      try ResponseRules.apply(to: &head, isHead: isHead)
    } catch { throw HeadFault(502, error.reason) }
    return end
  }

  /// Parses a trailer section (RFC 9112 §7.1.2) into `fields`; 0 where more octets are needed.
  public static func parseTrailers(
    _ bytes: ByteView, into fields: inout Fields, limits: borrowing HeadLimits
  ) throws(HeadFault) -> Int {
    fields.removeAll()
    return try parseFields(bytes, from: 0, into: &fields, limits: limits)
  }

  // MARK: Lines

  @inline(__always)
  private static func parseRequestLine(
    _ bytes: ByteView, from start: Int, into head: inout RequestHead,
    limits: borrowing HeadLimits
  ) throws(HeadFault) -> Int {
    // Nearly all: one comparison instead of a scan for the end of a token.
    let isGet = bytes.slice(from: start).hasPrefix("GET ")
    let methodEnd = isGet ? start + 3 : bytes.endOfToken(from: start)
    guard methodEnd - start <= maxMethodBytes else { throw .bad("method too long") }
    guard methodEnd < bytes.count else { return 0 }
    guard methodEnd > start, bytes[methodEnd] == space else { throw .bad("malformed method") }
    let targetStart = methodEnd + 1
    let targetEnd = bytes.endOfTarget(from: targetStart)
    guard targetEnd - targetStart <= limits.maxTargetBytes else {
      throw HeadFault(414, "request target over the limit")
    }
    guard targetEnd < bytes.count else { return 0 }
    guard targetEnd > targetStart, bytes[targetEnd] == space else {
      throw .bad("malformed request target")
    }
    let end = try parseVersion(bytes, from: targetEnd + 1, into: &head.version)
    guard end > 0 else { return 0 }
    head.methodRange = ByteRange(start, methodEnd)
    head.method = isGet ? .get : Method(bytes.slice(start, methodEnd))
    head.targetRange = ByteRange(targetStart, targetEnd)
    return end
  }

  /// `HTTP/1.0` or `HTTP/1.1` and CRLF (rule 9).
  @inline(__always)
  private static func parseVersion(
    _ bytes: ByteView, from start: Int, into version: inout HTTPVersion
  ) throws(HeadFault) -> Int {
    let line = bytes.slice(start, min(bytes.count, start + 10))
    if line.equals("HTTP/1.1\r\n") {
      version = .http11
      return start + 10
    }
    if line.count < 10 {
      // Judged as soon as the line ends, not when ten octets have come.
      for index in 0..<line.count where line[index] == cr || line[index] == lf {
        if index + 1 < line.count || line[index] == lf { throw .bad("malformed version") }
      }
      return 0
    }
    guard line.slice(0, 5).equals("HTTP/"), ASCII.isDigit(line[5]), line[6] == UInt8(ascii: "."),
      ASCII.isDigit(line[7]), line[8] == cr, line[9] == lf
    else { throw .bad("malformed version") }
    guard line[5] == UInt8(ascii: "1"), line[7] <= UInt8(ascii: "1") else {
      throw HeadFault(505, "only HTTP/1.0 and HTTP/1.1 are spoken here")
    }
    version = line[7] == UInt8(ascii: "1") ? .http11 : .http10
    return start + 10
  }

  /// `HTTP/1.x SP 3DIGIT [SP reason] CRLF`; a missing reason with its space is common and harmless.
  @inline(__always)
  private static func parseStatusLine(
    _ bytes: ByteView, into head: inout ResponseHead
  ) throws(HeadFault) -> Int {
    let start = bytes.slice(0, min(bytes.count, 13))
    if !start.hasPrefix("HTTP/1.") {
      // Judged as soon as it differs, not when all of it has come.
      guard start.equals(ByteView("HTTP/1.").slice(0, min(start.count, 7))) else {
        throw .bad("malformed status line")
      }
    }
    guard start.count == 13 else {
      if start.firstIndex(of: lf) != nil { throw .bad("malformed status line") }
      return 0
    }
    guard start[7] == UInt8(ascii: "1") || start[7] == UInt8(ascii: "0"), start[8] == space,
      let status = start.threeDigits(at: 9), (100...599).contains(status)
    else { throw .bad("malformed status line") }
    head.version = start[7] == UInt8(ascii: "1") ? .http11 : .http10
    head.status = status
    var reasonStart = 12
    if start[12] == space {
      reasonStart = 13
    } else if start[12] != cr {
      throw .bad("malformed status line")
    }
    let reasonEnd = bytes.endOfFieldValue(from: reasonStart)
    guard reasonEnd + 1 < bytes.count else {
      if reasonEnd < bytes.count, bytes[reasonEnd] != cr { throw .bad("malformed status line") }
      return 0
    }
    guard bytes[reasonEnd] == cr, bytes[reasonEnd + 1] == lf else {
      throw .bad("malformed status line")
    }
    head.reasonRange = ByteRange(reasonStart, reasonEnd)
    return reasonEnd + 2
  }

  /// Field lines up to and including the blank line (rule 8). Returns where the section ends, or
  /// 0 where more octets are needed.
  @inline(__always)
  private static func parseFields(
    _ bytes: ByteView, from start: Int, into fields: inout Fields, limits: borrowing HeadLimits
  ) throws(HeadFault) -> Int {
    let section = fields.scan(
      bytes, from: start, maxFields: limits.maxFields, maxFieldBytes: limits.maxFieldBytes)
    switch section.outcome {
    case .complete:
      guard section.end <= limits.maxBytes else { throw HeadFault(431, "head over the limit") }
      return section.end
    case .partial:
      if bytes.count >= limits.maxBytes { throw HeadFault(431, "head over the limit") }
      return 0
    case .bareCR: throw .bad("bare CR")
    case .badName: throw .bad("malformed field name")
    case .badValue: throw .bad("control byte in field value")
    case .longLine: throw HeadFault(431, "field line over the limit")
    case .tooMany: throw HeadFault(431, "too many field lines")
    }
  }
}
