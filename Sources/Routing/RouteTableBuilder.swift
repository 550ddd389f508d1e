import CPCRE2
import HTTP
import Primitives

/// Collects patterns into the rows of a `RouteTable`; lives for the length of its `init`.
struct RouteTableBuilder {
  var text: [UInt8] = []
  var hostSlots: [HostSlot] = []
  var wildcardLengths = [UInt64](repeating: 0, count: 4)
  var hosts: [HostNode] = []
  var edges: [Edge] = []
  var nodes: [PathNode] = []
  var regexes: [RegexEntry] = []
  var candidates: [Candidate] = []
  var conditions: [Condition] = []
  var names: [ByteRange] = []
  var anyHost: Int32 = -1
  var hasExactHosts = false

  private struct EdgeKey: Hashable {
    var parent: Int32
    var segment: [UInt8]
  }

  /// Routes of one host, as route ids in file order.
  private struct HostDraft {
    var host: RoutePattern.Host
    var exact: [Int32: [Int]] = [:]
    var prefix: [Int32: [Int]] = [:]
    var regexes: [(expression: String, routes: [Int])] = []
    var any: [Int] = []
  }

  private var patterns: [RoutePattern] = []
  private var drafts: [HostDraft] = []
  private var draftIndex: [RoutePattern.Host: Int] = [:]
  private var children: [EdgeKey: Int32] = [:]
  private var parents: [Int32] = []

  mutating func add(_ patterns: [RoutePattern]) throws(RouteTableError) {
    self.patterns = patterns
    for (route, pattern) in patterns.enumerated() {
      let host = hostIndex(pattern.host)
      switch pattern.path {
      case .any, .prefix(""): drafts[host].any.append(route)
      case .exact(let path): drafts[host].exact[node(host, path), default: []].append(route)
      case .prefix(let path): drafts[host].prefix[node(host, path), default: []].append(route)
      case .regex(let expression):
        if let known = drafts[host].regexes.firstIndex(where: { $0.expression == expression }) {
          drafts[host].regexes[known].routes.append(route)
        } else {
          drafts[host].regexes.append((expression, [route]))
        }
      }
    }
    do {
      try compileRegexes()
    } catch {
      for entry in regexes { pcre2_code_free_8(entry.code) }
      throw error
    }
  }

  mutating func finish() {
    for (index, draft) in drafts.enumerated() {
      hosts[index].any = run(draft.any)
      for (node, routes) in draft.exact { nodes[Int(node)].exact = run(routes) }
      for (node, routes) in draft.prefix { nodes[Int(node)].prefix = run(routes) }
    }
    linkPrefixes()
    linkHosts()
    fillHostSlots()
    fillEdges()
  }

  // MARK: Hosts

  private mutating func hostIndex(_ host: RoutePattern.Host) -> Int {
    if let known = draftIndex[host] { return known }
    let index = drafts.count
    drafts.append(HostDraft(host: host))
    hosts.append(HostNode())
    draftIndex[host] = index
    return index
  }

  /// A host's fallback is fixed by its name: the longest wildcard above it, else any host.
  private mutating func linkHosts() {
    anyHost = draftIndex[.any].map { Int32($0) } ?? -1
    for (index, draft) in drafts.enumerated() {
      switch draft.host {
      case .any: continue
      case .exact(let name): hosts[index].fallback = wildcard(above: name)
      case .wildcard(let name): hosts[index].fallback = wildcard(above: name)
      }
    }
  }

  private func wildcard(above name: String) -> Int32 {
    var rest = Substring(name)
    while let dot = rest.firstIndex(of: ".") {
      rest = rest[rest.index(after: dot)...]
      if let index = draftIndex[.wildcard(String(rest))] { return Int32(index) }
    }
    return anyHost
  }

  private mutating func fillHostSlots() {
    let capacity = slotCount(for: drafts.count)
    hostSlots = Array(repeating: HostSlot(), count: capacity)
    for (index, draft) in drafts.enumerated() {
      let name: String
      let isWildcard: Bool
      switch draft.host {
      case .any: continue
      case .exact(let exact): (name, isWildcard) = (exact, false)
      case .wildcard(let suffix): (name, isWildcard) = (suffix, true)
      }
      let range = store(Array(name.utf8))
      if isWildcard, range.count < 256 {
        wildcardLengths[range.count / 64] |= 1 << UInt64(range.count % 64)
      }
      if !isWildcard { hasExactHosts = true }
      let hash = self.hash(Array(name.utf8), seed: HostSeed.of(isWildcard: isWildcard))
      var slot = Int(hash) & (capacity - 1)
      while hostSlots[slot].host >= 0 { slot = (slot + 1) & (capacity - 1) }
      hostSlots[slot] = HostSlot(
        hash: hash, host: Int32(index), name: range, isWildcard: isWildcard)
    }
  }

  // MARK: Paths

  /// The node of `path` under a host, made where it is missing; `path` begins with `/`.
  private mutating func node(_ host: Int, _ path: String) -> Int32 {
    precondition(path.utf8.first == UInt8(ascii: "/"), "a route's path begins with a slash")
    if hosts[host].root < 0 { hosts[host].root = makeNode(parent: -1) }
    var node = hosts[host].root
    let segments = path.utf8.dropFirst().split(
      separator: UInt8(ascii: "/"), omittingEmptySubsequences: false)
    for segment in segments {
      let key = EdgeKey(parent: node, segment: Array(segment))
      if let child = children[key] {
        node = child
      } else {
        let child = makeNode(parent: node)
        children[key] = child
        node = child
      }
    }
    return node
  }

  private mutating func makeNode(parent: Int32) -> Int32 {
    nodes.append(PathNode())
    parents.append(parent)
    return Int32(nodes.count - 1)
  }

  /// Parents precede their children, so one pass in order suffices.
  private mutating func linkPrefixes() {
    for index in nodes.indices {
      let parent = parents[index]
      let above = parent < 0 ? -1 : nodes[Int(parent)].nearestPrefix
      nodes[index].nextPrefix = above
      nodes[index].nearestPrefix = nodes[index].prefix.isEmpty ? above : Int32(index)
    }
  }

  private mutating func fillEdges() {
    let capacity = slotCount(for: children.count)
    edges = Array(repeating: Edge(), count: capacity)
    // In node order, so that equal configurations give equal tables.
    for (key, child) in children.sorted(by: { $0.value < $1.value }) {
      let range = store(key.segment)
      let hash = self.hash(key.segment, seed: UInt32(bitPattern: key.parent))
      var slot = Int(hash) & (capacity - 1)
      while edges[slot].child >= 0 { slot = (slot + 1) & (capacity - 1) }
      edges[slot] = Edge(hash: hash, parent: key.parent, child: child, segment: range)
    }
  }

  private mutating func compileRegexes() throws(RouteTableError) {
    for index in drafts.indices {
      let start = UInt32(regexes.count)
      for group in drafts[index].regexes {
        do {
          let code = try PathRegex.compile(group.expression)
          regexes.append(RegexEntry(code: code, candidates: run(group.routes)))
        } catch {
          throw RouteTableError(
            route: group.routes[0], message: error.message, offset: error.offset)
        }
      }
      hosts[index].regexes = Span32(start: start, count: UInt32(regexes.count) - start)
    }
  }

  // MARK: Candidates and conditions

  /// Lays down the routes of one host and path: more conditions first, then file order.
  private mutating func run(_ routes: [Int]) -> Span32 {
    let ordered = routes.sorted { a, b in
      let (more, fewer) = (patterns[a].conditions.count, patterns[b].conditions.count)
      return more != fewer ? more > fewer : a < b
    }
    let rows = ordered.map { route in
      Candidate(route: Int32(route), conditions: lay(patterns[route].conditions))
    }
    let start = UInt32(candidates.count)
    candidates += rows
    return Span32(start: start, count: UInt32(rows.count))
  }

  private mutating func lay(_ list: [RouteCondition]) -> Span32 {
    let rows = list.map { row($0) }
    let start = UInt32(conditions.count)
    conditions += rows
    return Span32(start: start, count: UInt32(rows.count))
  }

  private mutating func row(_ condition: RouteCondition) -> Condition {
    switch condition {
    case .method(let list): return methodRow(list)
    case .header(let name, let value):
      let field = Array(name.utf8).withByteView { FieldName($0) }
      var row = Condition(kind: field == .other ? .header : .knownHeader, field: field)
      row.name = store(Array(name.utf8))
      if let value {
        row.hasValue = true
        row.value = store(Array(value.utf8))
      }
      return row
    case .query(let name, let value):
      var row = Condition(kind: .query)
      row.name = store(Array(name.utf8))
      if let value {
        row.hasValue = true
        row.value = store(Array(value.utf8))
      }
      return row
    }
  }

  private mutating func methodRow(_ list: [String]) -> Condition {
    var row = Condition(kind: .method)
    let start = names.count
    for name in list {
      let method = Array(name.utf8).withByteView { Method($0) }
      if method == .other {
        let range = store(Array(name.utf8))
        names.append(range)
      } else {
        row.methods |= 1 << UInt16(method.rawValue)
      }
    }
    row.otherMethods = Span32(start: UInt32(start), count: UInt32(names.count - start))
    return row
  }

  // MARK: Details

  private mutating func store(_ bytes: [UInt8]) -> ByteRange {
    let start = text.count
    text += bytes
    return ByteRange(start, text.count)
  }

  private func hash(_ bytes: [UInt8], seed: UInt32) -> UInt32 {
    bytes.withByteView { SegmentHash.of($0.pointer, $0.count, seed: seed) }
  }

  /// A power of two at least twice the number of entries.
  private func slotCount(for entries: Int) -> Int {
    var capacity = 8
    while capacity < entries * 2 { capacity *= 2 }
    return capacity
  }
}

/// Exact and wildcard names share one table under different seeds.
enum HostSeed {
  static func of(isWildcard: Bool) -> UInt32 { isWildcard ? 2 : 1 }
}
