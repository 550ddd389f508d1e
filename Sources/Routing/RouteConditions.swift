import HTTP
import Primitives

extension RouteTable {
  /// Whether all conditions of one route hold for a request.
  func holds(_ span: Span32, _ head: borrowing RequestHead) -> Bool {
    for index in span.indices where !holds(conditions[index], head) { return false }
    return true
  }

  private func holds(_ condition: Condition, _ head: borrowing RequestHead) -> Bool {
    switch condition.kind {
    case .method: holdsMethod(condition, head)
    case .knownHeader: holdsKnownField(condition, head)
    case .header: holdsField(condition, head)
    case .query: holdsQuery(condition, head.query)
    }
  }

  private func view(_ range: ByteRange) -> ByteView {
    let length = range.count
    return ByteView(
      UnsafeBufferPointer(start: text.address(Int(range.start), length), count: length))
  }

  /// RFC 9110 §9.1: methods are case-sensitive.
  private func holdsMethod(_ condition: Condition, _ head: borrowing RequestHead) -> Bool {
    guard head.method == .other else {
      return condition.methods & (1 << UInt16(head.method.rawValue)) != 0
    }
    let name = head.methodName
    for index in condition.otherMethods.indices where view(names[index]).equals(name) {
      return true
    }
    return false
  }

  private func holdsKnownField(_ condition: Condition, _ head: borrowing RequestHead) -> Bool {
    guard condition.hasValue else { return head.fields.contains(condition.field) }
    let wanted = view(condition.value)
    var index = head.fields.firstIndex(of: condition.field)
    while let found = index {
      if head.value(found).equals(wanted) { return true }
      index = head.fields.firstIndex(of: condition.field, from: found + 1)
    }
    return false
  }

  private func holdsField(_ condition: Condition, _ head: borrowing RequestHead) -> Bool {
    let name = view(condition.name)
    let wanted = view(condition.value)
    var index = head.fields.firstIndex(named: name, in: head.bytes)
    while let found = index {
      if !condition.hasValue || head.value(found).equals(wanted) { return true }
      index = head.fields.firstIndex(named: name, in: head.bytes, from: found + 1)
    }
    return false
  }

  private func holdsQuery(_ condition: Condition, _ query: ByteView) -> Bool {
    let name = view(condition.name)
    let wanted = view(condition.value)
    var start = 0
    while start < query.count {
      let end = query.firstIndex(of: UInt8(ascii: "&"), from: start) ?? query.count
      let argument = query.slice(start, end)
      let equals = argument.firstIndex(of: UInt8(ascii: "="))
      if decodes(argument.slice(0, equals ?? argument.count), to: name) {
        if !condition.hasValue { return true }
        // An argument without `=` has the empty value.
        let value = equals.map { argument.slice(from: $0 + 1) } ?? .empty
        if decodes(value, to: wanted) { return true }
      }
      start = end + 1
    }
    return false
  }

  /// Whether `encoded`, percent-decoded and with `+` as a space, is `plain`. A `%` that two
  /// hexadecimal digits do not follow stands for itself.
  private func decodes(_ encoded: ByteView, to plain: ByteView) -> Bool {
    var read = 0
    var matched = 0
    while read < encoded.count {
      guard matched < plain.count else { return false }
      var byte = encoded[read]
      if byte == UInt8(ascii: "+") {
        byte = UInt8(ascii: " ")
      } else if byte == UInt8(ascii: "%"), read + 2 < encoded.count,
        let high = ASCII.hexValue(encoded[read + 1]), let low = ASCII.hexValue(encoded[read + 2])
      {
        byte = high << 4 | low
        read += 2
      }
      if byte != plain[matched] { return false }
      read += 1
      matched += 1
    }
    return matched == plain.count
  }
}
