import Primitives

/// How many further attempts an upstream's requests may have, so that retries never multiply the
/// load of an upstream that fails altogether (rule 44): a share of the requests of the last ten
/// seconds, and a floor for quiet upstreams.
///
/// A value behind the upstream's lock, exact over all workers.
public struct RetryBudget: Sendable, BitwiseCopyable {
  private struct Bucket: BitwiseCopyable {
    var requests: UInt32 = 0
    var retries: UInt32 = 0
  }

  /// Buckets of a second.
  private static let bucketCount = 10
  /// Retries a second that are always allowed.
  public static let floorPerSecond = 3

  /// Per cent of the requests.
  public var share: Int
  private var bucket: Int32 = 0
  private var bucketEnd = MonotonicTime.zero
  private var buckets = InlineArray<10, Bucket>(repeating: Bucket())

  public init(share: Int) { self.share = share }

  @inline(__always)
  public mutating func requestBegan(now: MonotonicTime) {
    if now >= bucketEnd { advance(to: now) }
    buckets[Int(bucket)].requests &+= 1
  }

  /// Takes one retry; false where none is left.
  public mutating func take(now: MonotonicTime) -> Bool {
    if now >= bucketEnd { advance(to: now) }
    var requests = 0
    var retries = 0
    for index in 0..<RetryBudget.bucketCount {
      requests += Int(buckets[index].requests)
      retries += Int(buckets[index].retries)
    }
    let limit = requests * share / 100 + RetryBudget.floorPerSecond * RetryBudget.bucketCount
    guard retries < limit else { return false }
    buckets[Int(bucket)].retries &+= 1
    return true
  }

  private mutating func advance(to now: MonotonicTime) {
    let length: Int64 = 1_000_000_000
    let steps = (now - bucketEnd).nanoseconds / length + 1
    if steps >= Int64(RetryBudget.bucketCount) {
      for index in 0..<RetryBudget.bucketCount { buckets[index] = Bucket() }
      bucketEnd = now + TimeAmount(nanoseconds: length)
      return
    }
    for _ in 0..<steps {
      bucket = bucket == Int32(RetryBudget.bucketCount - 1) ? 0 : bucket + 1
      buckets[Int(bucket)] = Bucket()
    }
    bucketEnd = bucketEnd + TimeAmount(nanoseconds: length * steps)
  }
}
