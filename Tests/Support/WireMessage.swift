/// A message head exactly as it came: names in their own case, in order.
public struct WireHead: Sendable {
  public var startLine: String
  public var fields: [(name: String, value: String)]

  public init(startLine: String, fields: [(name: String, value: String)] = []) {
    self.startLine = startLine
    self.fields = fields
  }

  /// Values of all fields of that name, any case, in order.
  public func all(_ name: String) -> [String] {
    fields.filter { $0.name.lowercased() == name.lowercased() }.map(\.value)
  }

  /// The only field of that name; `nil` also when there are several, which a caller that means
  /// one must see as a failure.
  public subscript(_ name: String) -> String? {
    let values = all(name)
    return values.count == 1 ? values[0] : nil
  }

  public var method: String { word(0) }
  public var target: String { word(1) }
  public var status: Int { Int(word(1)) ?? 0 }
  public var version: String { startLine.hasPrefix("HTTP/") ? word(0) : word(2) }

  private func word(_ index: Int) -> String {
    let words = startLine.split(separator: " ", maxSplits: 2, omittingEmptySubsequences: false)
    return index < words.count ? String(words[index]) : ""
  }

  public var text: String {
    ([startLine] + fields.map { "\($0.name): \($0.value)" }).joined(separator: "\r\n")
  }
}

/// How a receiver found the end of a body.
public enum WireFraming: Equatable, Sendable {
  case none
  case length(Int)
  case chunked, untilEnd
}

/// A response, its body complete.
public struct WireResponse: Sendable {
  public var head: WireHead
  public var body: [UInt8]
  public var framing: WireFraming
  public var trailers: [(name: String, value: String)]
  /// 1xx responses that came before it.
  public var interim: [WireHead]

  public var status: Int { head.status }
  public var text: String { String(decoding: body, as: UTF8.self) }
  public subscript(_ name: String) -> String? { head[name] }
}

extension WireConnection {
  /// One head, to the letter of RFC 9112: CRLF, token names, no folding, no space before a colon.
  public func readHead() throws -> WireHead {
    var head = WireHead(startLine: try readLine())
    while true {
      let line = try readLine()
      if line.isEmpty { return head }
      head.fields.append(try parseField(line))
    }
  }

  private func parseField(_ line: String) throws -> (name: String, value: String) {
    guard let colon = line.firstIndex(of: ":"), colon > line.startIndex else {
      throw WireError.malformed("field line without name: \(line)")
    }
    let name = line[..<colon]
    let punctuation = "!#$%&'*+-.^_`|~"
    let isToken = name.allSatisfy {
      $0.isASCII && ($0.isLetter || $0.isNumber || punctuation.contains($0))
    }
    guard isToken else { throw WireError.malformed("field name: \(line)") }
    let value = line[line.index(after: colon)...]
    return (String(name), value.trimming { $0 == " " || $0 == "\t" })
  }

  /// One final response with the 1xx before it; a body that is cut short is an error.
  public func readResponse(to method: String = "GET") throws -> WireResponse {
    var body: [UInt8] = []
    let streamed = try readResponse(to: method) { body.append(contentsOf: $0) }
    return WireResponse(
      head: streamed.head, body: body, framing: streamed.framing, trailers: streamed.trailers,
      interim: streamed.interim)
  }

  /// The same with the body handed over as it comes, for bodies that do not fit memory.
  public func readResponse(
    to method: String = "GET", consume: (UnsafeRawBufferPointer) throws -> Void
  ) throws -> WireResponse {
    var interim: [WireHead] = []
    var head = try readHead()
    try checkStatusLine(head)
    while (100..<200).contains(head.status) && head.status != 101 {
      interim.append(head)
      head = try readHead()
      try checkStatusLine(head)
    }
    let framing = try responseFraming(head, method)
    let trailers = try readBody(framing, consume)
    return WireResponse(
      head: head, body: [], framing: framing, trailers: trailers, interim: interim)
  }

  private func checkStatusLine(_ head: WireHead) throws {
    let line = head.startLine
    let words = line.split(separator: " ", maxSplits: 2, omittingEmptySubsequences: false)
    guard words.count == 3, words[0] == "HTTP/1.1" || words[0] == "HTTP/1.0",
      words[1].count == 3, words[1].allSatisfy(\.isNumber), (100...599).contains(head.status)
    else { throw WireError.malformed("status line: \(line)") }
  }

  private func responseFraming(_ head: WireHead, _ method: String) throws -> WireFraming {
    let framing = try bodyFraming(head)
    if method == "HEAD" || [101, 204, 304].contains(head.status) {
      if framing == .chunked && method != "HEAD" && head.status != 304 {
        throw WireError.malformed("\(head.status) with Transfer-Encoding")
      }
      return .none
    }
    return framing ?? .untilEnd
  }

  /// Content-Length or chunked, never both, never twice.
  private func bodyFraming(_ head: WireHead) throws -> WireFraming? {
    let lengths = head.all("content-length")
    let codings = head.all("transfer-encoding")
    guard lengths.count + codings.count <= 1 else {
      throw WireError.malformed("ambiguous framing: \(head.text)")
    }
    if let coding = codings.first {
      guard coding == "chunked" else { throw WireError.malformed("coding \(coding)") }
      return .chunked
    }
    guard let length = lengths.first else { return nil }
    guard !length.isEmpty, length.allSatisfy({ $0.isASCII && $0.isNumber }),
      let count = Int(length)
    else { throw WireError.malformed("Content-Length \(length)") }
    return .length(count)
  }

  /// The body of a request with this head.
  public func readRequestBody(
    _ head: WireHead, _ consume: (UnsafeRawBufferPointer) throws -> Void = { _ in }
  ) throws -> [(name: String, value: String)] {
    try readBody(try bodyFraming(head) ?? .none, consume)
  }

  func readBody(
    _ framing: WireFraming, _ consume: (UnsafeRawBufferPointer) throws -> Void
  ) throws -> [(name: String, value: String)] {
    switch framing {
    case .none: return []
    case .length(let count):
      try readExactly(count, consume)
      return []
    case .untilEnd:
      while try readSome(limit: .max, consume) > 0 {}
      return []
    case .chunked:
      while true {
        let line = try readLine(limit: 64)
        guard !line.isEmpty, line.count <= 16, line.allSatisfy(\.isHexDigit),
          let size = Int(line, radix: 16)
        else { throw WireError.malformed("chunk size: \(line)") }
        if size == 0 { break }
        try readExactly(size, consume)
        guard try readLine(limit: 64).isEmpty else { throw WireError.malformed("chunk end") }
      }
      var trailers: [(name: String, value: String)] = []
      while true {
        let line = try readLine()
        if line.isEmpty { return trailers }
        trailers.append(try parseField(line))
      }
    }
  }

  private func readExactly(
    _ count: Int, _ consume: (UnsafeRawBufferPointer) throws -> Void
  ) throws {
    var left = count
    while left > 0 {
      let got = try readSome(limit: left, consume)
      if got == 0 { throw WireError.endedEarly("\(left) of \(count) octets missing") }
      left -= got
    }
  }
}

extension Substring {
  fileprivate func trimming(_ isSpace: (Character) -> Bool) -> String {
    var rest = self
    while let first = rest.first, isSpace(first) { rest.removeFirst() }
    while let last = rest.last, isSpace(last) { rest.removeLast() }
    return String(rest)
  }
}
