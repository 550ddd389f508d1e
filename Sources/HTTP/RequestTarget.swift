import Primitives

extension RequestHead {
  /// Splits a checked target into authority, path and query, and finds the path that routes match
  /// on. `targetRange` and `method` are set; every target byte is printable ASCII.
  ///
  /// Throws 400 for a form that does not fit the method, user information, dot segments (plain or
  /// encoded), `%00`, a broken percent-encoding; with `strictPath` also for `//`, `%2F` and `%5C`
  /// (safety rules 10, 10a and 11).
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
    let question = bytes.slice(pathStart, end).firstIndex(of: UInt8(ascii: "?"))
    let pathEnd = question.map { pathStart + $0 } ?? end
    pathRange = ByteRange(pathStart, pathEnd)
    queryRange = question == nil ? .empty : ByteRange(pathEnd + 1, end)
    try resolveRoutingPath(strictPath: strictPath)
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
    let host = try Authority.hostRange(of: authority)
    hostRange = ByteRange(start + scheme, start + scheme + Int(host.end))
    authority.lowercaseInPlace()
    return start + end
  }

  private mutating func resolveRoutingPath(strictPath: Bool) throws(HeadFault) {
    let path = bytes.slice(pathRange)
    if path.isEmpty {
      routingPath = ByteView("/")
      return
    }
    var needsDecoding = false
    var previous: UInt8 = 0
    for index in 0..<path.count {
      let byte = path[index]
      if byte == UInt8(ascii: "%") { needsDecoding = true }
      if byte == UInt8(ascii: "/"), previous == byte, strictPath {
        throw .bad("empty path segment refused by strict-path")
      }
      previous = byte
    }
    routingPath = needsDecoding ? try decodeUnreserved(path, strictPath: strictPath) : path
    try refuseDotSegments(routingPath)
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
  /// route and reach another's backend, so they are refused.
  private func refuseDotSegments(_ path: ByteView) throws(HeadFault) {
    var index = 0
    while index < path.count {
      guard path[index] == UInt8(ascii: "/") else {
        index += 1
        continue
      }
      var end = index + 1
      while end < path.count, end < index + 3, path[end] == UInt8(ascii: ".") { end += 1 }
      let dots = end - index - 1
      if dots > 0, end == path.count || path[end] == UInt8(ascii: "/") {
        throw .bad("dot segment in path")
      }
      index = end
    }
  }
}
