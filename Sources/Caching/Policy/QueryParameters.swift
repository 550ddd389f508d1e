import Primitives

/// Walks the parameters of a query, split at `&`; empty ones are skipped.
struct QueryParameters {
  private let query: ByteView
  private var index = 0

  init(_ query: ByteView) { self.query = query }

  mutating func next() -> ByteRange? {
    while index < query.count {
      let start = index
      let end = query.firstIndex(of: UInt8(ascii: "&"), from: start) ?? query.count
      index = end + 1
      if end > start { return ByteRange(start, end) }
    }
    return nil
  }

  /// What stands before the first `=`.
  static func name(_ parameter: ByteView) -> ByteView {
    parameter.slice(0, parameter.firstIndex(of: UInt8(ascii: "=")) ?? parameter.count)
  }
}

extension CompiledCacheRule {
  /// More are not sorted: the key stays right, it only matches less often.
  static let mostSortedParameters = 64

  private func isKept(_ parameter: ByteView) -> Bool {
    guard query == .keep || query == .drop else { return query == .all }
    let name = QueryParameters.name(parameter)
    for index in 0..<queryNames.count where unsafe queryNames[index].pointee.matches(name) {
      return query == .keep
    }
    return query == .drop
  }

  /// Appends `?` and what the rule keeps of `received`, or nothing. `hasQuery`: there was a `?`.
  func appendQuery(_ received: ByteView, hasQuery: Bool, to sink: inout ByteSink) {
    guard hasQuery, query != .none else { return }
    if query == .all, !sortsQuery {
      sink.append(byte: UInt8(ascii: "?"))
      sink.append(received)
    } else if !sortsQuery || !appendSorted(received, to: &sink) {
      appendInOrder(received, to: &sink)
    }
  }

  private func appendInOrder(_ received: ByteView, to sink: inout ByteSink) {
    var mark = UInt8(ascii: "?")
    var parameters = QueryParameters(received)
    while let range = parameters.next() {
      guard isKept(received.slice(range)) else { continue }
      sink.append(byte: mark)
      sink.append(received.slice(range))
      mark = UInt8(ascii: "&")
    }
  }

  /// In the order of the names; parameters of one name stay in theirs, for their order may mean
  /// something. False, with nothing appended, where there are too many.
  private func appendSorted(_ received: ByteView, to sink: inout ByteSink) -> Bool {
    var kept = InlineArray<64, ByteRange>(repeating: .empty)
    var count = 0
    var parameters = QueryParameters(received)
    while let range = parameters.next() {
      guard isKept(received.slice(range)) else { continue }
      if count == CompiledCacheRule.mostSortedParameters { return false }
      let name = QueryParameters.name(received.slice(range))
      var place = count
      while place > 0,
        name.precedes(QueryParameters.name(received.slice(kept[place - 1])))
      {
        kept[place] = kept[place - 1]
        place -= 1
      }
      kept[place] = range
      count += 1
    }
    var mark = UInt8(ascii: "?")
    for index in 0..<count {
      sink.append(byte: mark)
      sink.append(received.slice(kept[index]))
      mark = UInt8(ascii: "&")
    }
    return true
  }
}

extension ByteView {
  /// Order of the octets, the shorter one first.
  func precedes(_ other: ByteView) -> Bool {
    for index in 0..<Swift.min(count, other.count) where self[index] != other[index] {
      return self[index] < other[index]
    }
    return count < other.count
  }
}
