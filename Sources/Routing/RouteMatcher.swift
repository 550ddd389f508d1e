import CPCRE2
import HTTP
import Primitives

/// What a request's head leads to.
public enum RouteMatch: Sendable, Equatable, BitwiseCopyable {
  /// Index of the pattern the table was made from.
  case route(Int)
  case none
  /// A regular expression ran into its limits before it could say: answer 500 and count it.
  case limitExceeded
}

/// Looks up routes for one worker.
///
/// It owns the scratch memory of regular expressions, which two threads may not share: a worker
/// makes one and keeps it. A lookup allocates nothing (an expression's backtracking memory grows
/// to its high-water mark once) and counts no references.
public struct RouteMatcher: ~Copyable {
  private let scratch: OpaquePointer
  private let limits: OpaquePointer

  public init() {
    // Whether an expression matches is all that is asked, so one pair of offsets is enough.
    guard let scratch = pcre2_match_data_create_8(1, nil),
      let limits = pcre2_match_context_create_8(nil)
    else { preconditionFailure("out of memory") }
    pcre2_set_match_limit_8(limits, PathRegex.matchLimit)
    pcre2_set_depth_limit_8(limits, PathRegex.depthLimit)
    pcre2_set_heap_limit_8(limits, PathRegex.heapLimitKiB)
    self.scratch = scratch
    self.limits = limits
  }

  deinit {
    pcre2_match_data_free_8(scratch)
    pcre2_match_context_free_8(limits)
  }

  /// The route of a request, by the order of `RouteTable`.
  ///
  /// Uses the head's host (one dot at its end is ignored: it names the same host), routing path,
  /// query, method and fields. An absent path is `/`; a path that does not begin with a slash
  /// (`*` of OPTIONS) fits only routes for any path.
  public func match(_ table: RouteTable, _ head: borrowing RequestHead) -> RouteMatch {
    var path = head.routingPath
    if path.isEmpty, head.method != .options { path = ByteView("/") }
    var host = table.host(named: head.host)
    while host >= 0 {
      let node = table.hosts[Int(host)]
      if node.root >= 0 {
        let route = table.route(under: node.root, path, head)
        if route >= 0 { return .route(route) }
      }
      if !node.regexes.isEmpty {
        let outcome = search(table, node.regexes, path, head)
        if outcome != .none { return outcome }
      }
      let route = table.first(of: node.any, head)
      if route >= 0 { return .route(route) }
      host = node.fallback
    }
    return .none
  }

  private func search(
    _ table: RouteTable, _ regexes: Span32, _ path: ByteView, _ head: borrowing RequestHead
  ) -> RouteMatch {
    guard path.count > 0, path[0] == UInt8(ascii: "/") else { return .none }
    for index in regexes.indices {
      let entry = table.regexes[index]
      // Conditions are cheap and expressions are not.
      let route = table.first(of: entry.candidates, head)
      if route < 0 { continue }
      guard let isFound = PathRegex.search(entry.code, in: path, scratch, limits) else {
        return .limitExceeded
      }
      if isFound { return .route(route) }
    }
    return .none
  }
}

extension RouteTable {
  /// Names longer than this are no DNS names (RFC 1035 §2.3.4) and fit no route's host.
  static let hostLengthLimit = 255

  /// The most specific host node for a name, or -1.
  @inline(__always)
  func host(named received: ByteView) -> Int32 {
    guard hasExactHosts || hasWildcards else { return anyHost }
    var name = received
    if name.count > 1, name[name.count - 1] == UInt8(ascii: ".") {
      name = name.slice(0, name.count - 1)
    }
    if name.isEmpty || name.count > RouteTable.hostLengthLimit { return anyHost }
    if hasExactHosts {
      let host = lookUp(name, isWildcard: false)
      if host >= 0 { return host }
    }
    return hasWildcards ? wildcard(above: name) : anyHost
  }

  /// The longest wildcard that covers `name`, else any host. Only suffixes of a length that some
  /// wildcard has are hashed.
  private func wildcard(above name: ByteView) -> Int32 {
    var start = 0
    while let dot = name.firstIndex(of: UInt8(ascii: "."), from: start) {
      start = dot + 1
      let length = name.count - start
      if wildcardLengths[length >> 6] & (1 << UInt64(length & 63)) != 0 {
        let host = lookUp(name.slice(from: start), isWildcard: true)
        // A name must have something before the dot: `.example.com` is not covered.
        if host >= 0, dot > 0 { return host }
      }
    }
    return anyHost
  }

  @inline(__always)
  private func lookUp(_ name: ByteView, isWildcard: Bool) -> Int32 {
    let length = name.count
    let hash = SegmentHash.of(name.pointer, length, seed: HostSeed.of(isWildcard: isWildcard))
    let mask = hostSlots.count &- 1
    var index = Int(hash) & mask
    while true {
      let slot = hostSlots[index]
      if slot.host < 0 { return -1 }
      if slot.hash == hash, slot.isWildcard == isWildcard, slot.name.count == length,
        sameBytes(text.address(Int(slot.name.start), length), name.pointer, length)
      {
        return slot.host
      }
      index = (index &+ 1) & mask
    }
  }

  /// Follows `path` through a host's trie as far as it leads; then the exact routes of its end,
  /// then prefixes from the longest to the shortest. -1 where none holds.
  @inline(__always)
  func route(under root: Int32, _ path: ByteView, _ head: borrowing RequestHead) -> Int {
    let length = path.count
    guard length > 0, path[0] == UInt8(ascii: "/") else { return -1 }
    let bytes = path.pointer
    var node = root
    var start = 1
    var isWhole = false
    while true {
      let end = nextSlash(bytes, from: start, length)
      let next = child(of: node, bytes + start, end &- start)
      if next < 0 { break }
      node = next
      if end == length {
        isWhole = true
        break
      }
      start = end &+ 1
    }
    if isWhole {
      let route = first(of: nodes[Int(node)].exact, head)
      if route >= 0 { return route }
    }
    var prefix = nodes[Int(node)].nearestPrefix
    while prefix >= 0 {
      let entry = nodes[Int(prefix)]
      let route = first(of: entry.prefix, head)
      if route >= 0 { return route }
      prefix = entry.nextPrefix
    }
    return -1
  }

  @inline(__always)
  private func child(of node: Int32, _ segment: UnsafePointer<UInt8>, _ length: Int) -> Int32 {
    let hash = SegmentHash.of(segment, length, seed: UInt32(bitPattern: node))
    let mask = edges.count &- 1
    var index = Int(hash) & mask
    while true {
      let edge = edges[index]
      if edge.child < 0 { return -1 }
      if edge.hash == hash, edge.parent == node, edge.segment.count == length,
        sameBytes(text.address(Int(edge.segment.start), length), segment, length)
      {
        return edge.child
      }
      index = (index &+ 1) & mask
    }
  }

  /// The first of these routes whose conditions all hold, or -1.
  @inline(__always)
  func first(of span: Span32, _ head: borrowing RequestHead) -> Int {
    for index in span.indices {
      let candidate = candidates[index]
      if candidate.conditions.isEmpty || holds(candidate.conditions, head) {
        return Int(candidate.route)
      }
    }
    return -1
  }
}
