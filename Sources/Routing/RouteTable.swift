import CPCRE2
import HTTP
import Primitives

/// A pattern that cannot be compiled: a faulty regular expression.
public struct RouteTableError: Error, Sendable, Equatable {
  /// Index of the pattern.
  public var route: Int
  public var message: String
  /// Octets into the expression.
  public var offset: Int
}

/// The routes of one snapshot, compiled for lookup; immutable, shared by all workers.
///
///     host ──hash──► HostNode ──► trie of path segments ──► candidates ──► conditions ──► route
///                      │ fallback
///                      ▼
///                    next less specific host
///
/// Which route a request takes (docs/decisions/0102-route-specificity.md):
/// exact host, then longest wildcard, then any host; within a host exact path, then longest
/// prefix, then regular expressions in file order, then any path; within host and path the route
/// with more conditions, then the one written first. Where no route of a step holds, the next
/// step is tried.
///
/// All hosts share one hash table and all paths one table of (trie node, segment) edges, so a
/// lookup costs a hash and a comparison for the host and for each path segment that leads on,
/// however many routes there are. Only regular expressions cost in proportion to their number
/// under one host.
public final class RouteTable: Sendable {
  /// Index of a pattern = route id.
  public let routeCount: Int

  let text: Frozen<UInt8>
  let hostSlots: Frozen<HostSlot>
  /// Bit n: some wildcard's name is n octets long, n up to 255.
  let wildcardLengths: Frozen<UInt64>
  let hosts: Frozen<HostNode>
  let edges: Frozen<Edge>
  let nodes: Frozen<PathNode>
  let regexes: Frozen<RegexEntry>
  let candidates: Frozen<Candidate>
  let conditions: Frozen<Condition>
  let names: Frozen<ByteRange>
  /// The host node without a name; -1 where no route is for any host.
  let anyHost: Int32
  let hasExactHosts: Bool
  let hasWildcards: Bool

  /// Compiles the patterns; a pattern's index is its route id. Throws at the first regular
  /// expression that PCRE2 refuses.
  public init(_ patterns: [RoutePattern]) throws(RouteTableError) {
    var builder = RouteTableBuilder()
    try builder.add(patterns)
    builder.finish()
    routeCount = patterns.count
    text = Frozen(builder.text)
    hostSlots = Frozen(builder.hostSlots)
    wildcardLengths = Frozen(builder.wildcardLengths)
    hosts = Frozen(builder.hosts)
    edges = Frozen(builder.edges)
    nodes = Frozen(builder.nodes)
    regexes = Frozen(builder.regexes)
    candidates = Frozen(builder.candidates)
    conditions = Frozen(builder.conditions)
    names = Frozen(builder.names)
    anyHost = builder.anyHost
    hasExactHosts = builder.hasExactHosts
    hasWildcards = builder.wildcardLengths.contains { $0 != 0 }
  }

  deinit {
    for index in 0..<regexes.count { pcre2_code_free_8(regexes[index].code) }
    text.deallocate()
    hostSlots.deallocate()
    wildcardLengths.deallocate()
    hosts.deallocate()
    edges.deallocate()
    nodes.deallocate()
    regexes.deallocate()
    candidates.deallocate()
    conditions.deallocate()
    names.deallocate()
  }

  /// Compiles `expression` and drops the result: whether a configuration may use it.
  public static func check(regex expression: String) throws(RegexError) {
    pcre2_code_free_8(try PathRegex.compile(expression))
  }
}

// MARK: Rows of the tables

/// Slot of the host table; open addressing with linear probing, at most half full.
struct HostSlot: BitwiseCopyable {
  var hash: UInt32 = 0
  /// Index of the host node; -1: the slot is free.
  var host: Int32 = -1
  var name = ByteRange.empty
  var isWildcard = false
}

struct HostNode: BitwiseCopyable {
  /// Root of its path trie; -1: no route of this host names a path.
  var root: Int32 = -1
  var regexes = Span32.empty
  /// Routes of this host for any path.
  var any = Span32.empty
  /// The most specific host whose requests include all of this one's; -1: none.
  var fallback: Int32 = -1
}

/// Slot of the edge table, probed as `HostSlot`.
struct Edge: BitwiseCopyable {
  var hash: UInt32 = 0
  var parent: Int32 = 0
  /// -1: the slot is free.
  var child: Int32 = -1
  var segment = ByteRange.empty
}

/// What ends at one node of a path trie. A node stands for a path of whole segments.
struct PathNode: BitwiseCopyable {
  var exact = Span32.empty
  var prefix = Span32.empty
  /// This node or the closest one above it that has prefix routes; -1: none.
  var nearestPrefix: Int32 = -1
  /// The closest node above this one that has prefix routes; -1: none.
  var nextPrefix: Int32 = -1
}

/// Routes that share one expression under one host.
struct RegexEntry: BitwiseCopyable {
  var code: OpaquePointer
  var candidates: Span32
}

struct Candidate: BitwiseCopyable {
  var route: Int32
  var conditions: Span32
}

struct Condition: BitwiseCopyable {
  enum Kind: UInt8, BitwiseCopyable {
    case method, knownHeader, header, query
  }

  var kind: Kind
  var field = FieldName.other
  var hasValue = false
  /// Bit n: the method whose raw value is n is allowed.
  var methods: UInt16 = 0
  /// Methods without a `Method` of their own, as a run in `names`.
  var otherMethods = Span32.empty
  var name = ByteRange.empty
  var value = ByteRange.empty
}
