import Primitives
import Routing

/// A value after it was read.
enum Value: Sendable {
  /// Words of a closed list, too.
  case text(String)
  case integer(Int)
  case number(Double)
  case duration(TimeAmount)
  case address(SocketAddress)
  /// A name to be resolved, in lower case.
  case host(String, port: UInt16)
  /// A service to be resolved, in lower case.
  case service(String)
  case network(IPNetwork)
  case pattern(RoutePattern)
}

/// Why a word is no value of its kind.
struct ValueFault: Error {
  var message: String
  var notes: [String] = []
}

/// What may stand at one place of a directive: reads it, and says in the reference what it is.
indirect enum ValueKind: Sendable {
  /// One of these; `noun` says in a fault what is unknown.
  case word([String], noun: String)
  case integer(ClosedRange<Int>)
  case number(ClosedRange<Double>)
  /// Whole per cent.
  case percentage(ClosedRange<Int>)
  case duration(ClosedRange<TimeAmount>)
  /// Octets.
  case size(ClosedRange<Int>)
  /// The given word, or the other kind.
  case either(String, ValueKind)
  /// Letters, digits and `. _ -`, with more for backends, whose name may be an address.
  case name(more: String)
  /// RFC 9110 §5.6.2; `noun` as above.
  case token(noun: String)
  case host(allowsPort: Bool)
  case bindAddress
  case adminAddress
  case backendAddress
  /// An IP address, with a port or without.
  case nameServer
  case network
  case pattern
  /// Begins with `/`.
  case absolutePath
  case path
  case regex
  case redirectTarget
  /// Octets at most.
  case text(limit: Int)
  /// A field value: no control characters, no white space at its ends.
  case fieldValue
  /// Name or name/version.
  case protocolName

  func read(_ word: String) throws(ValueFault) -> Value {
    switch self {
    case .word(let words, let noun): try ValueReader.word(word, words, noun)
    case .integer(let range): try ValueReader.integer(word, range)
    case .number(let range): try ValueReader.number(word, range)
    case .percentage(let range): try ValueReader.percentage(word, range)
    case .duration(let range): try ValueReader.duration(word, range)
    case .size(let range): try ValueReader.size(word, range)
    case .either(let special, let kind):
      word == special ? .text(word) : try ValueReader.either(word, special, kind)
    case .name(let more): try ValueReader.name(word, more)
    case .token(let noun): try ValueReader.token(word, noun)
    case .host(let allowsPort): try AddressReader.host(word, allowsPort: allowsPort)
    case .bindAddress: try AddressReader.bind(word)
    case .adminAddress: try AddressReader.admin(word)
    case .backendAddress: try AddressReader.backend(word)
    case .nameServer: try AddressReader.nameServer(word)
    case .network: try AddressReader.network(word)
    case .pattern: .pattern(try PatternReader.read(word))
    case .absolutePath: try ValueReader.path(word, mustBeAbsolute: true)
    case .path: try ValueReader.path(word, mustBeAbsolute: false)
    case .regex: .text(word)
    case .redirectTarget: try ValueReader.redirectTarget(word)
    case .text(let limit): try ValueReader.text(word, limit)
    case .fieldValue: try ValueReader.fieldValue(word)
    case .protocolName: try ValueReader.protocolName(word)
    }
  }

  /// For the reference.
  var description: String {
    switch self {
    case .word(let words, _): words.map { "`\($0)`" }.joined(separator: ", ")
    case .integer(let range): "\(range.lowerBound) to \(range.upperBound)"
    case .number(let range): "\(written(range.lowerBound)) to \(written(range.upperBound))"
    case .percentage(let range): "\(range.lowerBound)% to \(range.upperBound)%"
    case .duration(let range): "\(written(range.lowerBound)) to \(written(range.upperBound))"
    case .size(let range):
      "\(written(bytes: range.lowerBound)) to \(written(bytes: range.upperBound))"
    case .either(let special, let kind): "`\(special)`, or \(kind.description)"
    case .name(let more):
      "letters, digits and `. _ -\(more.isEmpty ? "" : " " + more)`, at most 64"
    case .token: "a token"
    case .host(let allowsPort): allowsPort ? "host name, with or without port" : "host name"
    case .bindAddress: "`address:port`, `[v6]:port`, `:port` or `unix:/path`"
    case .adminAddress: "`unix:/path`, `address:port` or `[v6]:port`"
    case .backendAddress:
      "`address:port`, `[v6]:port`, `host.name:port`, `srv:_service._tcp.name` or "
        + "`unix:/path`"
    case .nameServer: "IP address, with a port where it is not 53"
    case .network: "`10.0.0.0/8`, `2001:db8::/32` or one address"
    case .pattern: "see [Routes](#routes)"
    case .absolutePath: "path that begins with `/`"
    case .path: "path, relative to the folder of this file"
    case .regex: "PCRE2 expression"
    case .redirectTarget:
      "URL or path with `$host`, `$path`, `$query`, `$request-uri` where wanted"
    case .text(let limit): "text of at most \(written(bytes: limit))"
    case .fieldValue: "field value without control characters"
    case .protocolName: "protocol name"
    }
  }
}

/// `250ms`, `10s`, `5m`, `1h`, `1d`: the largest unit that divides it.
func written(_ amount: TimeAmount) -> String {
  let value = amount.milliseconds
  for (unit, length) in DurationUnit.all.reversed() where value != 0 && value % length == 0 {
    return "\(value / length)\(unit)"
  }
  return "\(value)s"
}

/// `64KiB`, `10MiB`: the largest unit that divides it.
func written(bytes: Int) -> String {
  for (unit, length) in SizeUnit.all.reversed() where bytes != 0 && bytes % length == 0 {
    return "\(bytes / length)\(unit)"
  }
  return "\(bytes)B"
}

/// Without a trailing `.0`.
func written(_ number: Double) -> String {
  let text = "\(number)"
  return text.hasSuffix(".0") ? String(text.dropLast(2)) : text
}

enum DurationUnit {
  /// Milliseconds.
  static let all: [(name: String, length: Int64)] = [
    ("ms", 1), ("s", 1000), ("m", 60_000), ("h", 3_600_000), ("d", 86_400_000),
  ]
}

enum SizeUnit {
  static let all: [(name: String, length: Int)] = [
    ("B", 1), ("KiB", 1 << 10), ("MiB", 1 << 20), ("GiB", 1 << 30), ("TiB", 1 << 40),
  ]
}
