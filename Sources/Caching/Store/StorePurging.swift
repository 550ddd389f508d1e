import Primitives

/// Purges: what is stored, and what fetches in flight will bring.
extension CacheStore {
  /// Removes what matches, or makes it stale. When this returns, a lookup that begins now does not
  /// find what was removed, on any worker, whatever is in flight. O(what matches), and for a prefix
  /// O(what is in its folder). Others have their turn between batches (`CacheShard.purgeBatch`),
  /// but for soft purges and dry runs of less than everything, and a prefix that is no folder.
  public func purge(_ request: PurgeRequest, now: MonotonicTime) -> PurgeResult {
    var result = PurgeResult()
    result.sequence = log.withLock { request.dryRun ? $0.sequence : $0.add(request) }
    for index in 0..<ShardTable.count {
      let shard = shards[index]
      var place = CacheShard.PurgePlace()
      while !place.isDone {
        let gone = shard.withLock { shard in
          purge(request, &shard, &place, &result, now)
        }
        for object in gone { unpin(object) }
      }
    }
    if !request.dryRun {
      log.withLock { $0.finished(result.sequence) }
      purgedCount.add(UInt64(result.matched), ordering: .relaxed)
    }
    return result
  }

  private func purge(
    _ request: PurgeRequest, _ shard: inout CacheShard, _ place: inout CacheShard.PurgePlace,
    _ result: inout PurgeResult, _ now: MonotonicTime
  ) -> [StoredObject] {
    // What enters between two batches was fetched since, or by a fetch that is told with the first.
    let since = request.dryRun ? UInt64.max : result.sequence
    if place.isFirst, !request.dryRun { tellFills(request, result.sequence, &shard, now) }
    place.isFirst = false
    let matches = shard.matches(request, since: since, &place)
    result.matched += matches.count
    for object in matches { result.bytes += object.chargedBytes }
    if request.dryRun { return [] }
    if request.soft {
      for object in matches { object.expire(now: now) }
    } else {
      for object in matches {
        object.setPurged(at: result.sequence)
        shard.remove(object)
      }
    }
    return request.soft ? [] : matches
  }

  private func tellFills(
    _ request: PurgeRequest, _ sequence: UInt64, _ shard: inout CacheShard, _ now: MonotonicTime
  ) {
    for fill in shard.fills.values.joined() where concerns(request, sequence, fill, now) {
      fill.inner.withLock { $0.purged(at: sequence, isSoft: request.soft) }
      shard.detach(fill)
    }
  }

  /// Whether a purge is about a fetch in flight: about what it brings, or about the copy it has of
  /// what it renews, which may be in no index any more.
  private func concerns(
    _ request: PurgeRequest, _ sequence: UInt64, _ fill: CacheFill, _ now: MonotonicTime
  ) -> Bool {
    guard let stale = fill.stale else { return fill.isMatched(by: request) }
    if PurgeLog.matches(request, stale.url, stale.tags) {
      if request.soft {
        stale.expire(now: now)
      } else if stale.purgedAt == 0 {
        stale.setPurged(at: sequence)
      }
      return true
    }
    return stale.purgedAt > 0 || fill.isMatched(by: request)
  }

  /// How many responses a purge would take at once, of each part's first batch. For tests.
  func batches(_ request: PurgeRequest) -> [Int] {
    (0..<ShardTable.count).map { index in
      shards[index].withLock { shard in
        var place = CacheShard.PurgePlace()
        return shard.matches(request, since: .max, &place).count
      }
    }
  }
}
