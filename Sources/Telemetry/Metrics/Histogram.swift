/// How durations are counted: log-linear buckets of microseconds, eight to each power of two.
///
/// From 1 µs to 2^32 µs (71 minutes); longer ones count in the last bucket. A quantile is off by
/// at most 6 % of its value, at any size, in 240 cells.
public enum HistogramScale {
  /// Buckets to a power of two, as a power of two.
  @inlinable
  static var stepBits: Int { 3 }
  @inlinable
  static var steps: Int { 1 << stepBits }
  @inlinable
  static var largest: UInt64 { (1 << 32) - 1 }
  @inlinable
  public static var bucketCount: Int { (32 - stepBits + 1) * steps }

  @inlinable @inline(__always)
  static func bucket(of microseconds: UInt64) -> Int {
    if microseconds < UInt64(steps) { return Int(truncatingIfNeeded: microseconds) }
    let value = min(microseconds, largest)
    let exponent = 63 - value.leadingZeroBitCount
    let step = Int(truncatingIfNeeded: value >> UInt64(exponent - stepBits)) & (steps - 1)
    return (exponent - stepBits + 1) * steps + step
  }

  /// The least value that falls into the bucket.
  static func lowerBound(of bucket: Int) -> UInt64 {
    if bucket < steps { return UInt64(bucket) }
    let exponent = bucket / steps + stepBits - 1
    return UInt64(steps + bucket % steps) << UInt64(exponent - stepBits)
  }

  /// The value that stands for a bucket: between its least and greatest one, as far from both in
  /// proportion (the harmonic mean).
  static func representative(of bucket: Int) -> UInt64 {
    let low = lowerBound(of: bucket)
    let high = lowerBound(of: bucket + 1) - 1
    return low + (low + high == 0 ? 0 : low * (high - low) / (low + high))
  }
}

/// Durations of one thing on one worker. A handle into cells, like `Cells`.
public struct Histogram: BitwiseCopyable {
  /// The buckets and the sum.
  @inlinable
  static var cellCount: Int { HistogramScale.bucketCount + 1 }

  @usableFromInline let cells: Cells

  @inlinable @inline(__always)
  init(cells: Cells) {
    precondition(cells.count == Histogram.cellCount)
    self.cells = cells
  }

  /// On the writing thread only.
  @inlinable @inline(__always)
  public func record(microseconds: UInt64) {
    cells.add(HistogramScale.bucket(of: microseconds))
    cells.add(HistogramScale.bucketCount, microseconds)
  }

  /// On any thread.
  public func snapshot() -> HistogramSnapshot {
    var snapshot = HistogramSnapshot()
    snapshot.add(self)
    return snapshot
  }

  func load(_ bucket: Int) -> UInt64 { cells.load(bucket) }
  var sum: UInt64 { cells.load(HistogramScale.bucketCount) }
}

/// What one or more histograms held when they were read. Control plane.
public struct HistogramSnapshot: Sendable, Equatable {
  private var counts = [UInt64](repeating: 0, count: HistogramScale.bucketCount)
  /// Of everything recorded, in microseconds.
  public private(set) var sumMicroseconds: UInt64 = 0
  public private(set) var count: UInt64 = 0

  public init() {}

  public mutating func add(_ histogram: Histogram) {
    for bucket in counts.indices {
      let amount = histogram.load(bucket)
      counts[bucket] &+= amount
      count &+= amount
    }
    sumMicroseconds &+= histogram.sum
  }

  public mutating func add(_ other: HistogramSnapshot) {
    for bucket in counts.indices { counts[bucket] &+= other.counts[bucket] }
    count &+= other.count
    sumMicroseconds &+= other.sumMicroseconds
  }

  /// The duration in microseconds that a share of all recorded ones (0–1) does not exceed, within
  /// 6 %; `nil` where nothing was recorded.
  public func quantile(_ share: Double) -> UInt64? {
    guard count > 0 else { return nil }
    let rank = max(1, min(count, UInt64((Double(count) * share).rounded(.up))))
    var seen: UInt64 = 0
    for bucket in counts.indices {
      seen += counts[bucket]
      if seen >= rank { return HistogramScale.representative(of: bucket) }
    }
    return nil
  }

  /// Bounds of the Prometheus buckets: powers of two of a microsecond from 128 µs to 67 s. Being
  /// edges of the fine buckets too, they make the counts below them exact.
  static let bounds: [UInt64] = (7...26).map { 1 << UInt64($0) }

  /// How many durations were shorter than each of `bounds`.
  func countsBelowBounds() -> [UInt64] {
    var result: [UInt64] = []
    var seen: UInt64 = 0
    var bucket = 0
    for bound in HistogramSnapshot.bounds {
      while bucket < counts.count, HistogramScale.lowerBound(of: bucket) < bound {
        seen += counts[bucket]
        bucket += 1
      }
      result.append(seen)
    }
    return result
  }
}
