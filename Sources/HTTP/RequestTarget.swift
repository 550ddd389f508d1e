import Primitives

extension RequestHead {
  /// Splits a checked target into authority, path and query, and finds the path that routes match
  /// on. `targetRange` and `method` are set; every target byte is printable ASCII.
  ///
  /// Throws 400 for a form that does not fit the method, user information, dot segments (plain,
  /// encoded, or beside an encoded slash), `%00`, a broken percent-encoding; with `strictPath` also
  /// for `//`, `%2F` and `%5C` (safety rules 10, 10a and 11).
  @inline(__always)
  public mutating func resolveTarget(strictPath: Bool) throws(HeadFault) {
    let target = bytes.slice(targetRange)
    var pathStart = Int(targetRange.start)
    if target[0] == UInt8(ascii: "/") {
      targetForm = .origin
    } else if target.equals("*") {
      guard method == .options else { throw .bad("asterisk target without OPTIONS") }
      targetForm = .asterisk
      pathAndQueryRange = targetRange
      pathRange = targetRange
      queryRange = .empty
      routingPath = target
      return
    } else {
      pathStart = try resolveAbsoluteForm(target)
    }
    let end = Int(targetRange.end)
    pathAndQueryRange = ByteRange(pathStart, end)
    let (pathEnd, traits) = bytes.scanPath(from: pathStart, to: end)
    pathRange = ByteRange(pathStart, pathEnd)
    queryRange = pathEnd == end ? .empty : ByteRange(pathEnd + 1, end)
    try resolveRoutingPath(traits, strictPath: strictPath)
  }

  /// Returns where the path begins; it may be empty (`http://host?query`).
  private mutating func resolveAbsoluteForm(_ target: ByteView) throws(HeadFault) -> Int {
    let scheme: Int
    if target.count > 7, target.slice(0, 7).equalsLowercased("http://") {
      scheme = 7
    } else if target.count > 8, target.slice(0, 8).equalsLowercased("https://") {
      scheme = 8
    } else {
      throw .bad("target is neither a path nor an http or https URI")
    }
    var end = scheme
    while end < target.count, target[end] != UInt8(ascii: "/"), target[end] != UInt8(ascii: "?") {
      end += 1
    }
    targetForm = .absolute
    let start = Int(targetRange.start)
    authorityRange = ByteRange(start + scheme, start + end)
    let authority = bytes.slice(authorityRange)
    let host = try Authority.normalize(authority)
    hostRange = ByteRange(start + scheme, start + scheme + Int(host.end))
    return start + end
  }

  @inline(__always)
  private mutating func resolveRoutingPath(
    _ traits: PathTraits, strictPath: Bool
  ) throws(HeadFault) {
    let path = bytes.slice(pathRange)
    if path.isEmpty {
      routingPath = ByteView("/")
      return
    }
    if strictPath, traits.contains(.emptySegment) {
      throw .bad("empty path segment refused by strict-path")
    }
    if traits.contains(.encoded) {
      routingPath = try decodeUnreserved(path, strictPath: strictPath)
      try refuseDotSegments(routingPath)
    } else {
      routingPath = path
      if traits.contains(.leadingDot) { try refuseDotSegments(path) }
    }
  }

  /// RFC 3986 §6.2.2.2: only octets that never need encoding are decoded; the rest keep their
  /// meaning, with upper-case digits so that `%2f` and `%2F` match alike.
  private mutating func decodeUnreserved(
    _ path: ByteView, strictPath: Bool
  ) throws(HeadFault) -> ByteView {
    var sink = decodedPathSink()
    var index = 0
    while index < path.count {
      let byte = path[index]
      guard byte == UInt8(ascii: "%") else {
        sink.append(byte: byte)
        index += 1
        continue
      }
      guard index + 2 < path.count, let high = ASCII.hexValue(path[index + 1]),
        let low = ASCII.hexValue(path[index + 2])
      else { throw .bad("broken percent-encoding in path") }
      let octet = high << 4 | low
      if octet == 0 { throw .bad("encoded NUL in path") }
      if strictPath, octet == UInt8(ascii: "/") || octet == UInt8(ascii: "\\") {
        throw .bad("encoded slash or backslash refused by strict-path")
      }
      if ASCII.isUnreserved(octet) {
        sink.append(byte: octet)
      } else {
        sink.append(byte: UInt8(ascii: "%"))
        sink.append(byte: RequestHead.upperHex(high))
        sink.append(byte: RequestHead.upperHex(low))
      }
      index += 3
    }
    return sink.view
  }

  private static func upperHex(_ nibble: UInt8) -> UInt8 {
    nibble < 10 ? UInt8(ascii: "0") + nibble : UInt8(ascii: "A") + nibble - 10
  }

  /// RFC 3986 §3.3: `.` and `..` as whole segments. Resolving them here would let a path match one
  /// route and reach another's backend, so they are refused. Segments end where any backend may end
  /// them (docs/decisions/0401): at `/`, at an encoded slash or backslash, and at the parameters
  /// behind `;`, which servlet containers cut off first. `path` has its unreserved octets decoded.
  private func refuseDotSegments(_ path: ByteView) throws(HeadFault) {
    var index = 0
    while index < path.count {
      let separator = path.segmentSeparatorLength(at: index)
      guard separator > 0 else {
        index += 1
        continue
      }
      let start = index + separator
      var end = start
      while end < path.count, end < start + 2, path[end] == UInt8(ascii: ".") { end += 1 }
      if end > start, path.endsSegment(at: end) { throw .bad("dot segment in path") }
      index = end
    }
  }
}

extension ByteView {
  /// Octets of the separator that begins at `index`: `/`, `%2F` or `%5C`; 0 where there is none.
  @inline(__always)
  fileprivate func segmentSeparatorLength(at index: Int) -> Int {
    let byte = self[index]
    if byte == UInt8(ascii: "/") { return 1 }
    guard byte == UInt8(ascii: "%"), index + 2 < count else { return 0 }
    let high = self[index + 1]
    let low = self[index + 2]
    let isSlash = high == UInt8(ascii: "2") && low == UInt8(ascii: "F")
    let isBackslash = high == UInt8(ascii: "5") && low == UInt8(ascii: "C")
    return isSlash || isBackslash ? 3 : 0
  }

  private func isParameterMark(at index: Int) -> Bool {
    if self[index] == UInt8(ascii: ";") { return true }
    return index + 2 < count && slice(index, index + 3).equals("%3B")
  }

  fileprivate func endsSegment(at index: Int) -> Bool {
    index == count || segmentSeparatorLength(at: index) > 0 || isParameterMark(at: index)
  }
}
