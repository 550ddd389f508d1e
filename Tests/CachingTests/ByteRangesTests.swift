import Caching
import HTTP
import Primitives
import TestUnitSupport
import Testing

@Suite struct `A Range field` {
  private func parse(
    _ value: String, length: Int = 1000, overhead: Int = 20
  ) -> ByteRanges.Outcome {
    HeldText(value).read { ByteRanges.parse($0, length: length, partOverhead: overhead) }
  }

  /// Start and end of each part; `nil`: whole; empty: not satisfiable.
  private func parts(_ outcome: ByteRanges.Outcome) -> [[Int]]? {
    switch outcome {
    case .whole: return nil
    case .notSatisfiable: return []
    case .single(let part): return [[part.start, part.end]]
    case .multiple(let ranges):
      return (0..<ranges.count).map { [ranges[$0].start, ranges[$0].end] }
    }
  }

  @Test(
    arguments: [
      ("bytes=0-0", [[0, 1]]), ("bytes=0-999", [[0, 1000]]), ("bytes=0-5000", [[0, 1000]]),
      ("bytes=500-", [[500, 1000]]), ("bytes=-1", [[999, 1000]]), ("bytes=-5000", [[0, 1000]]),
      ("BYTES=1-2", [[1, 3]]), ("bytes= 1-2 ", [[1, 3]]), ("bytes=,1-2,", [[1, 3]]),
      ("bytes=0-99999999999999999999999", [[0, 1000]]), ("bytes=1000-", []),
      ("bytes=1000-1001", []),
      ("bytes=99999999999999999999-", []), ("bytes=-0", []), ("bytes=1000-,-0", []),
      ("bytes=1000-,0-0", [[0, 1]]), ("bytes=0-1,5-6", [[0, 2], [5, 7]]),
      ("bytes=5-6, 0-1", [[5, 7], [0, 2]]), ("bytes=0-1,2-3", [[0, 2], [2, 4]]),
      ("bytes=-1,0-0", [[999, 1000], [0, 1]]),
      (
        "bytes=0-0,2-2,4-4,6-6,8-8,10-10,12-12,14-14",
        [[0, 1], [2, 3], [4, 5], [6, 7], [8, 9], [10, 11], [12, 13], [14, 15]]
      ),
    ] as [(String, [[Int]])])
  func `names parts of the object, in its order`(value: String, expected: [[Int]]) {
    #expect(parts(parse(value)) == expected)
  }

  @Test(arguments: [
    "", "bytes", "bytes=", "bytes=,", "bytes=a-b", "bytes=1", "bytes=-", "bytes=2-1",
    "bytes=1-2-3", "bytes=1 -2", "bytes=+1-2", "bytes=--1", "items=0-1", "bytes:0-1",
    "bytes=0-1;2-3", "bytes=0-1,x", "bytes=0-5,5-6", "bytes=0-,-1", "bytes=3-3,3-3",
    "bytes=2000-1000", "bytes=0x1-2",
    "bytes=0-0,2-2,4-4,6-6,8-8,10-10,12-12,14-14,16-16",
    "bytes=2000-,2000-,2000-,2000-,2000-,2000-,2000-,2000-,2000-",
  ])
  func `that is malformed, overlaps or asks for too much is ignored`(value: String) {
    #expect(parts(parse(value)) == nil)
  }

  @Test func `is ignored where the parts would take more than the object`() {
    #expect(parts(parse("bytes=0-399,500-899", overhead: 60)) != nil)
    #expect(parts(parse("bytes=0-399,500-899", overhead: 67)) == nil)
    #expect(parts(parse("bytes=0-0,2-2", length: 4, overhead: 1)) == nil)
    // One part costs nothing but its octets.
    #expect(parts(parse("bytes=0-0", length: 1, overhead: 500)) == [[0, 1]])
    #expect(parts(parse("bytes=0-0", length: 0)) == [])
  }

  @Test func `counts once, and on a GET only`() throws {
    func asked(_ text: String) throws -> [[Int]]? {
      try Heads.request(text) {
        parts(ByteRanges.parse($0, length: 10, partOverhead: 1))
      }
    }
    #expect(try asked("GET / HTTP/1.1\nHost: h\nRange: bytes=1-2") == [[1, 3]])
    #expect(try asked("HEAD / HTTP/1.1\nHost: h\nRange: bytes=1-2") == nil)
    #expect(try asked("GET / HTTP/1.1\nHost: h") == nil)
    #expect(try asked("GET / HTTP/1.1\nHost: h\nRange: bytes=1-2\nRange: bytes=3-4") == nil)
  }

  @Test func `mutated at random gives parts within the object that never overlap`() {
    var random = SeededRandom(seed: 14)
    let alphabet = Array("bytes=0123456789,- \t".utf8)
    for _ in 0..<10_000 {
      var value = Array("bytes=0-10, 20-30,-5,99-".utf8)
      for _ in 0..<random.below(6) {
        let octet = alphabet[random.below(alphabet.count)]
        let place = random.below(value.count)
        if random.below(2) == 0 { value[place] = octet } else { value.insert(octet, at: place) }
      }
      let length = random.below(120)
      let outcome = HeldText(value).read {
        ByteRanges.parse($0, length: length, partOverhead: 0)
      }
      let found = parts(outcome) ?? []
      let isWithin = found.allSatisfy { 0 <= $0[0] && $0[0] < $0[1] && $0[1] <= length }
      let sum = found.reduce(0) { $0 + $1[1] - $1[0] }
      if !isWithin || sum > length || found.count > 8 {
        Issue.record("\(String(decoding: value, as: UTF8.self)) of \(length): \(found)")
      }
    }
  }
}

@Suite struct `A partial response` {
  private func ranges(_ value: String, length: Int) throws -> ByteRanges {
    let outcome = HeldText(value).read {
      ByteRanges.parse($0, length: length, partOverhead: 0)
    }
    guard case .multiple(let ranges) = outcome else { throw Heads.Refused() }
    return ranges
  }

  @Test func `says which part it is`() {
    let line = Heads.appended {
      MultipartRanges.appendContentRange(ByteRanges.Part(start: 5, end: 10), length: 20, to: &$0)
    }
    #expect(text(line) == "Content-Range: bytes 5-9/20\r\n")
    let none = Heads.appended { MultipartRanges.appendUnsatisfied(length: 20, to: &$0) }
    #expect(text(none) == "Content-Range: bytes */20\r\n")
  }

  @Test func `of several parts has the form of RFC 9110 §14-6`() throws {
    let parts = MultipartRanges(
      try ranges("bytes=0-1,7-9", length: 1000), length: 1000, boundary: 0xAB)
    let content = Array("0123456789".utf8)
    let body = Heads.appended { sink in
      for index in 0..<2 {
        parts.appendPartHead(index, contentType: ByteView("text/plain"), to: &sink)
        sink.append(Array(content[parts.ranges[index].start..<parts.ranges[index].end]))
      }
      parts.appendEnd(to: &sink)
    }
    let boundary = "00000000000000ab"
    #expect(
      text(body) == """
        --\(boundary)\r
        Content-Type: text/plain\r
        Content-Range: bytes 0-1/1000\r
        \r
        01\r
        --\(boundary)\r
        Content-Type: text/plain\r
        Content-Range: bytes 7-9/1000\r
        \r
        789\r
        --\(boundary)--\r\n
        """)
    #expect(parts.contentLength(contentTypeBytes: 10) == body?.count)
    let type = Heads.appended { parts.appendContentType(to: &$0) }
    #expect(text(type) == "Content-Type: multipart/byteranges; boundary=\(boundary)\r\n")
  }

  @Test func `has the length it says, within the bound it says, for random parts`() throws {
    var random = SeededRandom(seed: 206)
    for _ in 0..<500 {
      let length = 1_000 + Int(random.next() % 5_000_000_000_000)
      let count = 2 + random.below(7)
      let starts = Set((0..<count).map { _ in random.below(length - 1) }).sorted()
      guard starts.count > 1 else { continue }
      let value = "bytes=" + starts.map { "\($0)-\($0)" }.joined(separator: ",")
      let parts = MultipartRanges(
        try ranges(value, length: length), length: length, boundary: random.next())
      let type = random.below(2) == 0 ? "" : "application/octet-stream"
      let held = HeldText(type)
      var overhead = 0
      let rendered = held.read { type in
        Heads.appended { sink in
          for index in 0..<parts.ranges.count {
            let before = sink.count
            parts.appendPartHead(index, contentType: type, to: &sink)
            overhead = max(overhead, sink.count - before)
          }
          parts.appendEnd(to: &sink)
        }
      }
      let most = MultipartRanges.mostPartHeadBytes(contentTypeBytes: type.utf8.count)
      let isRight =
        (rendered?.count ?? 0) + parts.ranges.totalBytes
        == parts.contentLength(contentTypeBytes: type.utf8.count)
      #expect(isRight && overhead <= most)
    }
  }
}
