import HTTP
import Primitives
import Routing

/// A request as text, and the head a parser would make of it.
struct SampleRequest: CustomStringConvertible {
  var method = "GET"
  var host = "example.com"
  var path = "/"
  var query = ""
  var fields: [(name: String, value: String)] = []

  var description: String {
    "\(method) \(host)\(path)?\(query) \(fields.map { "\($0.name): \($0.value)" })"
  }

  /// Safety rule 10a: what routes match is the path with unreserved octets decoded.
  var routingPath: String {
    var decoded: [UInt8] = []
    var rest = Array(path.utf8)[...]
    while let byte = rest.popFirst() {
      if byte == UInt8(ascii: "%"), rest.count >= 2,
        let high = ASCII.hexValue(rest[rest.startIndex]),
        let low = ASCII.hexValue(rest[rest.startIndex + 1]), ASCII.isUnreserved(high << 4 | low)
      {
        decoded.append(high << 4 | low)
        rest = rest.dropFirst(2)
      } else {
        decoded.append(byte)
      }
    }
    return String(decoding: decoded, as: UTF8.self)
  }

  /// Lends the head; its bytes live as long as the call.
  func withHead<Result>(_ body: (borrowing RequestHead) -> Result) -> Result {
    var bytes: [UInt8] = []
    func add(_ text: String) -> ByteRange {
      let start = bytes.count
      bytes += Array(text.utf8)
      return ByteRange(start, bytes.count)
    }
    let methodRange = add(method)
    let hostRange = add(host.lowercased())
    let pathRange = add(path)
    let queryRange = add(query)
    let lines = fields.map { (name: add($0.name), value: add($0.value)) }
    let routing = Array(routingPath.utf8)
    return bytes.withByteView { view in
      routing.withByteView { routingPath in
        var head = RequestHead()
        head.bytes = view
        head.methodRange = methodRange
        head.method = Method(view.slice(methodRange))
        head.hostRange = hostRange
        head.authorityRange = hostRange
        head.pathRange = pathRange
        head.queryRange = queryRange
        head.routingPath = routingPath
        for line in lines {
          let field = Field(
            name: FieldName(view.slice(line.name)), nameRange: line.name, valueRange: line.value,
            lineRange: line.value)
          precondition(head.fields.append(field))
        }
        return body(head)
      }
    }
  }

  func match(_ table: RouteTable, _ matcher: borrowing RouteMatcher) -> RouteMatch {
    var result = RouteMatch.none
    withHead { result = matcher.match(table, $0) }
    return result
  }

  func match(_ patterns: [RoutePattern]) throws -> RouteMatch {
    try match(RouteTable(patterns), RouteMatcher())
  }
}
