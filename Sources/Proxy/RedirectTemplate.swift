/// `redirect STATUS URL` with its variables found once.
struct RedirectTemplate: Sendable {
  enum Part: Sendable {
    case literal([UInt8])
    case host, path, query, requestURI
  }

  let status: Int
  let parts: [Part]

  init(status: Int, location: String) {
    self.status = status
    var parts: [Part] = []
    var rest = location[...]
    let variables: [(String, Part)] = [
      ("$request-uri", .requestURI), ("$host", .host), ("$path", .path), ("$query", .query),
    ]
    var search = rest.startIndex
    while let dollar = rest[search...].firstIndex(of: "$") {
      search = rest.index(after: dollar)
      // A dollar that begins no variable stands for itself.
      guard let found = variables.first(where: { rest[dollar...].hasPrefix($0.0) })
      else { continue }
      if dollar > rest.startIndex { parts.append(.literal(Array(rest[..<dollar].utf8))) }
      parts.append(found.1)
      rest = rest[dollar...].dropFirst(found.0.count)
      search = rest.startIndex
    }
    if !rest.isEmpty { parts.append(.literal(Array(rest.utf8))) }
    self.parts = parts
  }
}
