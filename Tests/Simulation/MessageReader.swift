/// Reads HTTP/1 messages as RFC 9112 has them, strictly and by itself: nothing of the code under
/// test is used, so that a mistake there cannot hide here.
struct MessageReader {
  struct Head {
    var start: [Substring] = []
    var fields: [(name: String, value: String)] = []

    func value(_ name: String) -> String? { fields.first { $0.name == name }?.value }
    func number(_ name: String) -> Int? { value(name).flatMap { Int($0) } }
  }

  enum Event {
    case head(Head)
    case body(Range<Int>)
    case end
    /// More octets are needed.
    case more
    case fault(String)
  }

  private enum Phase {
    case head
    case length(Int)
    case chunkSize
    case chunk(Int)
    case chunkEnd, trailer, toEnd
  }

  let readsResponses: Bool
  private(set) var octets: [UInt8] = []
  private var place = 0
  private var phase = Phase.head
  /// Of the request whose answer comes next: an answer to it has no content.
  var isForHead = false

  init(readsResponses: Bool) { self.readsResponses = readsResponses }

  /// No message has begun.
  var isBetween: Bool {
    if case .head = phase { return place == octets.count }
    return false
  }

  mutating func receive(_ descriptor: Int32, atMost count: Int) -> Sockets.Outcome {
    if place > 1 << 15 || place == octets.count {
      octets.removeFirst(place)
      place = 0
    }
    return Sockets.read(descriptor, atMost: count, into: &octets)
  }

  mutating func add(_ more: [UInt8]) { octets += more }

  /// The connection has ended: a message that lasts until then is complete.
  mutating func ended() -> Event {
    guard case .toEnd = phase else { return .more }
    phase = .head
    return .end
  }

  mutating func next() -> Event {
    switch phase {
    case .head: return readHead()
    case .length(let left): return content(left, then: { .length($0) })
    case .chunk(let left):
      if left > 0 { return content(left, then: { .chunk($0) }) }
      phase = .chunkEnd
      return next()
    case .toEnd:
      guard place < octets.count else { return .more }
      defer { place = octets.count }
      return .body(place..<octets.count)
    case .chunkSize:
      guard let line = line() else { return .more }
      guard let size = Int(line.prefix { $0 != ";" }, radix: 16), size >= 0 else {
        return .fault("chunk size '\(line.prefix(20))'")
      }
      phase = size == 0 ? .trailer : .chunk(size)
      return next()
    case .chunkEnd:
      guard let line = line() else { return .more }
      guard line.isEmpty else { return .fault("a chunk does not end where it said") }
      phase = .chunkSize
      return next()
    case .trailer:
      guard let line = line() else { return .more }
      guard line.isEmpty else { return next() }
      phase = .head
      return .end
    }
  }

  private mutating func content(_ left: Int, then phase: (Int) -> Phase) -> Event {
    if left == 0 {
      self.phase = .head
      return .end
    }
    guard place < octets.count else { return .more }
    let range = place..<min(octets.count, place + left)
    place = range.upperBound
    self.phase = phase(left - range.count)
    return .body(range)
  }

  /// Up to CRLF, which is taken too.
  private mutating func line() -> String? {
    guard let end = octets[place...].firstIndex(of: 10) else { return nil }
    defer { place = end + 1 }
    guard end > place, octets[end - 1] == 13 else { return "a bare line feed" }
    return String(decoding: octets[place..<(end - 1)], as: UTF8.self)
  }

  private mutating func readHead() -> Event {
    guard let end = headEnd() else { return .more }
    var head = Head()
    let text = String(decoding: octets[place..<(end - 4)], as: UTF8.self)
    for (index, line) in text.split(separator: "\r\n").enumerated() {
      if index == 0 {
        head.start = line.split(separator: " ", maxSplits: 2)
        continue
      }
      guard let colon = line.utf8.firstIndex(of: 58) else { return .fault("field '\(line)'") }
      var value = line[line.utf8.index(after: colon)...]
      while value.first == " " { value.removeFirst() }
      head.fields.append((line[..<colon].lowercased(), String(value)))
    }
    guard head.start.count >= 2, head.start.contains(where: { $0.hasPrefix("HTTP/1.") }) else {
      return .fault("start line '\(text.prefix(60))'")
    }
    place = end
    return frame(head)
  }

  private func headEnd() -> Int? {
    guard octets.count - place >= 4 else { return nil }
    var index = place + 3
    while index < octets.count {
      if octets[index] == 10, octets[index - 1] == 13, octets[index - 2] == 10,
        octets[index - 3] == 13
      {
        return index + 1
      }
      index += 1
    }
    return nil
  }

  private mutating func frame(_ head: Head) -> Event {
    let lengths = head.fields.filter { $0.name == "content-length" }
    let isChunked = head.value("transfer-encoding") == "chunked"
    if lengths.count > 1 || (isChunked && !lengths.isEmpty) { return .fault("two framings") }
    if readsResponses {
      guard let status = Int(head.start[1]), (100...599).contains(status) else {
        return .fault("status '\(head.start[1])'")
      }
      if status < 200 { return .head(head) }
      if isForHead || status == 204 || status == 304 {
        phase = .length(0)
        return .head(head)
      }
    }
    if isChunked {
      phase = .chunkSize
    } else if let length = lengths.first {
      guard let count = Int(length.value), count >= 0 else { return .fault("length") }
      phase = .length(count)
    } else {
      phase = readsResponses ? .toEnd : .length(0)
    }
    return .head(head)
  }
}
