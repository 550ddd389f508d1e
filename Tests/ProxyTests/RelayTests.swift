import HTTP
import Primitives
import Testing
import Transport

@testable import Proxy

@Suite struct `The relay` {
  private static func bytes(_ text: String) -> [UInt8] { Array(text.utf8) }
  private static func pattern(_ count: Int) -> [UInt8] {
    var bytes = [UInt8](repeating: 0, count: count)
    for index in bytes.indices {
      bytes[index] = UInt8(truncatingIfNeeded: index &* 7 &+ index >> 9)
    }
    return bytes
  }

  private static func content(
    _ framing: BodyFraming, chunks: Bool = false, trailers: Bool = false
  ) -> Content {
    Content(framing, sendsChunks: chunks, passesTrailers: trailers)
  }

  /// The content of a chunked message without extensions, and its trailer section.
  private static func dechunk(_ bytes: ArraySlice<UInt8>) -> (content: [UInt8], rest: String)? {
    var rest = bytes
    var content: [UInt8] = []
    while true {
      let line = rest.prefix { $0 != 13 }
      guard let size = Int(String(decoding: line, as: UTF8.self), radix: 16) else { return nil }
      rest = rest.dropFirst(line.count)
      guard rest.popFirst() == 13, rest.popFirst() == 10 else { return nil }
      if size == 0 { return (content, String(decoding: rest, as: UTF8.self)) }
      content += rest.prefix(size)
      rest = rest.dropFirst(size)
      guard rest.popFirst() == 13, rest.popFirst() == 10 else { return nil }
    }
  }

  /// The message cut in two and in three, and in single octets.
  private static func cuts(_ bytes: [UInt8]) -> [[[UInt8]]] {
    var all = [bytes.map { [$0] }]
    for cut in 0...bytes.count { all.append([Array(bytes[..<cut]), Array(bytes[cut...])]) }
    return all
  }

  @Test func `moves content of a known length behind its head, and not an octet more`() {
    for pieces in Self.cuts(Self.bytes("0123456789NEXT")) {
      let passage = Passage(Self.content(.length(10)), head: "HEAD\r\n\r\n")
      #expect(passage.run(pieces) == .complete)
      #expect(passage.text == "HEAD\r\n\r\n0123456789" && "NEXT".hasPrefix(passage.unread))
      #expect(passage.content.octets == 10 && passage.content.isComplete)
    }
  }

  @Test func `a head without content is sent alone, and one whose content is late does not wait`() {
    let alone = Passage(Self.content(.none), head: "HEAD")
    #expect(alone.run([]) == .complete && alone.text == "HEAD")
    let late = Passage(Self.content(.length(5)), head: "HEAD")
    #expect(late.pump() == .needsSource && late.drain() == 4)
  }

  @Test func `chunks are framed anew, extensions and unasked trailers dropped`() {
    let coded = "5;evil=1\r\nhello\r\n00A\r\n, 1\r\n worl\r\n0;x\r\nX-T: v\r\n\r\nNEXT"
    for pieces in Self.cuts(Self.bytes(coded)) {
      let passage = Passage(Self.content(.chunked, chunks: true), head: "H")
      #expect(passage.run(pieces) == .complete)
      let found = Self.dechunk(passage.received.dropFirst())
      #expect(found?.content == Self.bytes("hello, 1\r\n worl") && found?.rest == "\r\n")
      #expect(!passage.text.contains("evil") && "NEXT".hasPrefix(passage.unread))
      #expect(passage.content.octets == 15)
    }
  }

  @Test func `trailers that were asked for pass, except those that may not`() {
    let trailers =
      "Grpc-Status: 0\r\nHost: evil\r\nContent-Length: 3\r\nAuthorization: x\r\nSet-Cookie: y\r\n"
      + "Transfer-Encoding: chunked\r\nX_Under: z\r\nX-Forwarded-For: 1\r\nETag: \"e\"\r\n\r\n"
    for pieces in Self.cuts(Self.bytes("1\r\na\r\n0\r\n\(trailers)")) {
      let passage = Passage(Self.content(.chunked, chunks: true, trailers: true))
      #expect(passage.run(pieces) == .complete)
      #expect(Self.dechunk(passage.received[...])?.rest == "Grpc-Status: 0\r\nETag: \"e\"\r\n\r\n")
    }
  }

  @Test func `a receiver without chunks gets the bare content`() {
    for pieces in Self.cuts(Self.bytes("3\r\nabc\r\n2\r\nde\r\n0\r\nX: y\r\n\r\n")) {
      let passage = Passage(Self.content(.chunked))
      #expect(passage.run(pieces) == .complete && passage.text == "abcde")
    }
  }

  @Test(arguments: [true, false])
  func `content until the end ends with the connection`(sendsChunks: Bool) {
    for pieces in Self.cuts(Self.bytes("0123456789")) {
      let passage = Passage(Self.content(.untilClose, chunks: sendsChunks), head: "H")
      #expect(passage.run(pieces, then: .closed) == .complete)
      if sendsChunks {
        let found = Self.dechunk(passage.received.dropFirst())
        #expect(found?.content == Self.bytes("0123456789") && found?.rest == "\r\n")
      } else {
        #expect(passage.text == "H0123456789")
      }
    }
  }

  /// Rule 25: what was cut short must not look complete.
  @Test(
    arguments: [
      (.untilClose, "abc", Passage.Ending.reset), (.length(5), "abc", .closed),
      (.length(5), "abc", .reset), (.length(100_000), "abc", .closed),
      (.chunked, "5\r\nabc", .closed),
      (.chunked, "3\r\nabc\r\n", .closed), (.chunked, "3\r\nabc\r\n0\r\n", .closed),
      (.chunked, "3\r\nabc\r\n0\r\nX: y\r\n", .reset), (.chunked, "3\r\nabc", .reset),
    ] as [(BodyFraming, String, Passage.Ending)])
  func `content that ends early is never ended in order`(
    framing: BodyFraming, text: String, ending: Passage.Ending
  ) {
    let chunks = framing == .chunked || framing == .untilClose
    let passage = Passage(Self.content(framing, chunks: chunks), head: "H")
    #expect(passage.run([Self.bytes(text)], then: ending) == .sourceEnded)
    #expect(passage.text == (chunks ? "H3\r\nabc\r\n" : "Habc") && !passage.content.isComplete)
  }

  @Test(arguments: [
    "x", "3\r\nabcX", "3\r\nabc\r\nz", "3\r\nabc\r\n0\r\nX : y\r\n\r\n",
    "3\r\nabc\r\n0\r\n: y\r\n\r\n",
    "3\r\nabc\r\n0\r\n X: y\r\n\r\n", "3\r\nabc\r\n0\r\nX: y\n\r\n", "3\nabc",
    "3\r\nabc\r\n0\r\n\n",
  ])
  func `malformed chunks and trailers end the message without its last chunk`(coded: String) {
    for pieces in Self.cuts(Self.bytes(coded)) {
      let passage = Passage(Self.content(.chunked, chunks: true), head: "H")
      #expect(passage.run(pieces, then: .open) == .malformed)
      passage.drain()
      #expect(!passage.text.contains("0\r\n\r\n") && !passage.content.isComplete)
    }
  }

  @Test func `a trailer section has the limits of a head`() {
    let line = "X: " + String(repeating: "v", count: 4000) + "\r\n"
    let coded = Self.bytes("0\r\n" + String(repeating: line, count: 5) + "\r\n")
    let passage = Passage(Self.content(.chunked, chunks: true))
    #expect(passage.run([coded]) == .malformed)
    #expect(passage.received.isEmpty)
  }

  @Test func `beyond its limit content is not handed on`() {
    for (limit, outcome) in [(6, RelayOutcome.complete), (5, .overLimit), (3, .overLimit)] {
      for pieces in Self.cuts(Self.bytes("3\r\nabc\r\n3\r\ndef\r\n0\r\n\r\n")) {
        var content = Self.content(.chunked)
        content.limit = limit
        let passage = Passage(content)
        #expect(passage.run(pieces) == outcome)
        passage.drain()
        #expect(passage.received.count <= limit && "abcdef".hasPrefix(passage.text))
      }
    }
  }

  /// A MiB and a little, with a receiver that takes it by and by.
  @Test(arguments: [(4, true), (0, false)])
  func `a large body is spliced, or copied where there is no pipe`(pipes: Int, splices: Bool) {
    let body = Self.pattern(1024 * 1024 + 77)
    let passage = Passage(Self.content(.length(body.count)), head: "HEAD", pipes: pipes)
    #expect(passage.run([body + Self.bytes("NEXT")]) == .complete)
    #expect(passage.received == Self.bytes("HEAD") + body)
    #expect(passage.hasSpliced == splices && !passage.content.pipe.isOpen)
    #expect(passage.content.octets == body.count && passage.content.remaining == 0)
    #expect(passage.mostBlocks <= 4, "no more is held than one input and what one send left over")
    #expect(passage.sink.pointee.sentOctets == body.count + 4)
  }

  @Test func `a body cut short in a pipe spoils the pipe, not the next message`() {
    let body = Self.pattern(400_000)
    let passage = Passage(Self.content(.length(500_000)), pipes: 1)
    var fed = 0
    var outcome = RelayOutcome.yields
    for _ in 0..<1000 where outcome != .needsSink {
      fed += passage.feed(body[fed...])
      outcome = passage.pump()
    }
    #expect(outcome == .needsSink && passage.content.pipe.isOpen)
    passage.endSplicing()
    #expect(!passage.content.pipe.isOpen)
    passage.endSplicing()
  }

  /// Back-pressure: a source that has more than a blocked sink takes is not read on.
  @Test(arguments: [(BodyFraming.length(600_000), 0), (.untilClose, 0), (.chunked, 0)])
  func `a blocked sink stops the source until it drains`(framing: BodyFraming, pipes: Int) {
    let body = Self.pattern(600_000)
    let coded =
      framing == .chunked
      ? Self.bytes("927c0\r\n") + body + Self.bytes("\r\n0\r\n\r\n") : body
    let passage = Passage(Self.content(framing), pipes: pipes)
    var fed = 0
    var stalled = 0
    while stalled < 3 {
      let count = passage.feed(coded[fed...])
      fed += count
      let outcome = passage.pump()
      #expect(outcome == .needsSink || outcome == .needsSource || outcome == .yields)
      stalled = count == 0 && outcome == .needsSink ? stalled + 1 : 0
    }
    #expect(fed < coded.count && passage.mostBlocks <= 4)
    #expect(passage.run([Array(coded[fed...])], then: .closed) == .complete)
    #expect(passage.received == body)
  }

  @Test func `a receiver that is gone fails the sink, also while splicing`() {
    for (framing, pipes) in [(BodyFraming.length(500_000), 1), (.untilClose, 0)] {
      let passage = Passage(Self.content(framing), pipes: pipes)
      passage.closeReader()
      _ = passage.feed(Self.pattern(30_000)[...])
      #expect(passage.pump() == .sinkFailed)
    }
  }

  @Test func `without a buffer it says so`() {
    let passage = Passage(Self.content(.length(5)), blocks: 0)
    passage.feed("abcde")
    #expect(passage.pump() == .exhausted)
  }

  @Test func `a tunnel passes octets as they are until one side ends`() {
    let passage = Passage(.tunnel)
    #expect(
      passage.run([Self.bytes("\u{0}a"), Self.bytes("0\r\n\r\n"), Self.bytes("b")]) == .needsSource)
    #expect(passage.text == "\u{0}a0\r\n\r\nb")
    #expect(passage.run([], then: .closed) == .complete && passage.content.isComplete)
  }
}
