import Primitives

/// What a purge is about.
public struct PurgeRequest: Sendable, Equatable {
  public var tags: [[UInt8]] = []
  /// As keys have them (`CacheURL`).
  public var urls: [[UInt8]] = []
  /// Beginning of URLs, at least up to the path's first slash.
  public var prefix: [UInt8]?
  public var all = false
  /// Make stale instead of removing.
  public var soft = false
  /// Count what it would do, and do nothing.
  public var dryRun = false

  public init() {}

  public var isEmpty: Bool { tags.isEmpty && urls.isEmpty && prefix == nil && !all }
}

/// What a purge did. When it is returned, no lookup that begins later finds what it removed.
public struct PurgeResult: Sendable, Equatable {
  /// Stored responses.
  public var matched = 0
  /// Octets of memory that they took.
  public var bytes = 0
  /// Number of the purge, from 1; of a dry run the number of the last one.
  public var sequence: UInt64 = 0

  public init() {}
}

/// The purges that a fetch in flight may have missed: what it brings is checked against those that
/// came after it began, because its tags are not known before its head.
///
/// Kept as far back as the oldest fetch in flight, and at most `mostEntries`: beyond that a floor
/// rises, and what older fetches bring is neither stored nor shared with newer requests.
struct PurgeLog {
  static let mostEntries = 65_536

  struct Entry {
    let sequence: UInt64
    let request: PurgeRequest
  }

  /// Of the last purge.
  private(set) var sequence: UInt64 = 0
  /// Purges up to this one are no longer known.
  private(set) var floor: UInt64 = 0
  private var entries: [Entry] = []
  /// Index of the first entry that counts.
  private var first = 0
  /// Hard purges that have not come by at every part of the cache yet, few or none.
  private var underWay: [Entry] = []
  /// Fetches in flight by the sequence they began with, in that order.
  private var flights: [(sequence: UInt64, count: Int)] = []

  /// A fetch begins; returns the sequence it has to tell when it ends.
  mutating func fetchBegan() -> UInt64 {
    if let last = flights.indices.last, flights[last].sequence == sequence {
      flights[last].count += 1
    } else {
      flights.append((sequence, 1))
    }
    return sequence
  }

  mutating func fetchEnded(_ began: UInt64) {
    var low = 0
    var high = flights.count
    while low < high {
      let middle = (low + high) / 2
      if flights[middle].sequence < began { low = middle + 1 } else { high = middle }
    }
    precondition(low < flights.count && flights[low].sequence == began, "a fetch ended twice")
    flights[low].count -= 1
    guard flights[low].count == 0 else { return }
    flights.remove(at: low)
    forget()
  }

  mutating func add(_ request: PurgeRequest) -> UInt64 {
    sequence += 1
    entries.append(Entry(sequence: sequence, request: request))
    if entries.count - first > PurgeLog.mostEntries {
      floor = entries[first].sequence
      first += 1
    }
    forget()
    if !request.soft { underWay.append(Entry(sequence: sequence, request: request)) }
    return sequence
  }

  /// The purge has come by everywhere: what it is about is not in the cache any more.
  mutating func finished(_ sequence: UInt64) { underWay.removeAll { $0.sequence == sequence } }

  /// Whether a purge that is under way is about what is stored here, and may find it only later.
  func isBeingPurged(url: ByteView, tags: TagList) -> Bool {
    underWay.contains { PurgeLog.matches($0.request, url, tags) }
  }

  /// Drops what no fetch in flight can have missed.
  private mutating func forget() {
    let oldest = flights.first?.sequence ?? sequence
    while first < entries.count, entries[first].sequence <= oldest { first += 1 }
    if first > 1024, first > entries.count / 2 {
      entries.removeFirst(first)
      first = 0
    }
  }

  /// The first purge after `began` that matches what a fetch brought, or `nil`: who asked after it
  /// must not have that. `isSoft`: all that match are soft.
  func match(
    url: ByteView, tags: TagList, since began: UInt64
  ) -> (sequence: UInt64, isSoft: Bool)? {
    if began < floor { return (began + 1, false) }
    var found: (sequence: UInt64, isSoft: Bool)?
    let later = min(Int(clamping: sequence - began), entries.count - first)
    for entry in entries[(entries.count - later)...]
    where PurgeLog.matches(entry.request, url, tags) {
      found = (found?.sequence ?? entry.sequence, entry.request.soft)
      if !entry.request.soft { break }
    }
    return found
  }

  static func matches(_ request: PurgeRequest, _ url: ByteView, _ tags: TagList) -> Bool {
    if request.all { return true }
    if let prefix = request.prefix, url.begins(with: prefix) { return true }
    for wanted in request.urls where url.equals(wanted) { return true }
    guard !request.tags.isEmpty else { return false }
    var tags = tags
    while let tag = tags.next() {
      for wanted in request.tags where tag.equals(wanted) { return true }
    }
    return false
  }
}

extension ByteView {
  func equals(_ other: [UInt8]) -> Bool {
    unsafe other.withUnsafeBufferPointer { unsafe equals(ByteView($0)) }
  }

  func begins(with other: [UInt8]) -> Bool {
    unsafe other.withUnsafeBufferPointer { unsafe begins(with: ByteView($0)) }
  }

  func begins(with other: ByteView) -> Bool {
    count >= other.count && slice(0, other.count).equals(other)
  }
}
