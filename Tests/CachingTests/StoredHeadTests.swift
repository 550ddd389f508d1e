import Caching
import HTTP
import Primitives
import TestUnitSupport
import Testing

@Suite struct `A stored head` {
  private let now: Int64 = 784_111_777

  private func stored(
    _ head: String, capacity: Int = 4096, _ change: (inout CacheRule) -> Void = { _ in }
  ) throws -> (text: String, layout: StoredHead.Layout?) {
    var rule = CacheRule()
    change(&rule)
    let compiled = CompiledCacheRule(rule)
    var layout: StoredHead.Layout?
    let octets = try Heads.response(head) { head in
      Heads.appended(capacity: capacity) {
        layout = StoredHead.append(head, rule: compiled, wallSeconds: now, to: &$0)
      }
    }
    return (text(octets), layout)
  }

  private let date = "Date: Sun, 06 Nov 1994 08:49:37 GMT\r\n"

  @Test func `keeps status, order and octets of what goes to the client`() throws {
    let (head, layout) = try stored(
      "HTTP/1.1 203 As is\nx-One:  a b \nETag: W/\"x\"\nX-Two:\n"
        + "Last-Modified: Sun, 06 Nov 1994 08:49:30 GMT\nContent-Type: text/plain\n"
        + "Date: Sun, 06 Nov 1994 08:49:31 GMT\nVia: 1.1 x\nCache-Status: up; hit\n"
        + "CDN-Cache-Control: max-age=1\nCache-Control: max-age=2\nWarning: 1")
    #expect(
      head == """
        HTTP/1.1 203 As is\r
        x-One:  a b \r
        ETag: W/"x"\r
        X-Two:\r
        Last-Modified: Sun, 06 Nov 1994 08:49:30 GMT\r
        Content-Type: text/plain\r
        Date: Sun, 06 Nov 1994 08:49:31 GMT\r
        Via: 1.1 x\r
        Cache-Status: up; hit\r
        CDN-Cache-Control: max-age=1\r
        Cache-Control: max-age=2\r
        Warning: 1\r
        \r\n
        """)
    let found = try #require(layout)
    func part(_ range: ByteRange) -> String {
      text(Array(Array(head.utf8)[Int(range.start)..<Int(range.end)]))
    }
    #expect(found.length == head.utf8.count && found.status == 203 && found.fieldsStart == 20)
    #expect(part(found.etag) == "W/\"x\"" && part(found.contentType) == "text/plain")
    #expect(part(found.lastModified) == "Sun, 06 Nov 1994 08:49:30 GMT")
    #expect(found.dateSeconds == now - 6)
  }

  @Test(arguments: [
    "Connection: close", "Keep-Alive: timeout=5", "Proxy-Connection: x", "TE: trailers",
    "Trailer: X", "Transfer-Encoding: chunked", "Content-Length: 5", "Age: 7",
    "Set-Cookie: a=b", "Proxy-Authenticate: Basic", "Proxy-Authentication-Info: x",
    "Proxy-Authorization: Basic x",
    "Cache-Tag: a", "Surrogate-Key: a b", "xkey: a", "Connection: X-Hop\nX-Hop: 1",
    "Connection: close, etag\nETag: \"a\"", "Surrogate-Control: max-age=1",
  ])
  func `leaves out what is not the client's, or made anew`(lines: String) throws {
    let (head, layout) = try stored("HTTP/1.1 200 OK\nA: b\n\(lines)\nC: d") {
      $0.tagHeaders = ["XKey"]
      $0.obeysSurrogateControl = true
    }
    #expect(head == "HTTP/1.1 200 OK\r\nA: b\r\nC: d\r\n\(date)\r\n")
    #expect(layout?.etag == .empty && layout?.dateSeconds == now)
  }

  @Test func `shows cookies, tags and surrogate control where the rule says so`() throws {
    let lines = "Set-Cookie: a=b\nCache-Tag: a\nSurrogate-Key: b\nxkey: c\nSurrogate-Control: x"
    let (head, _) = try stored("HTTP/1.1 200 OK\n\(lines)") {
      $0.storesSetCookie = true
      $0.exposesTags = true
      $0.tagHeaders = ["xkey"]
    }
    let shown = lines.replacing("\n", with: "\r\n")
    #expect(head == "HTTP/1.1 200 OK\r\n\(shown)\r\n\(date)\r\n")
    let (plain, _) = try stored("HTTP/1.1 200 OK\nxkey: c\nSurrogate-Control: x")
    #expect(plain == "HTTP/1.1 200 OK\r\nxkey: c\r\nSurrogate-Control: x\r\n\(date)\r\n")
  }

  @Test func `of a response without a reason has the usual one, or none that is known`() throws {
    #expect(try stored("HTTP/1.1 404 \nA: b").text.hasPrefix("HTTP/1.1 404 Not Found\r\n"))
  }

  @Test func `that does not fit is none`() throws {
    let whole = try stored("HTTP/1.1 200 OK\nA: b").text.utf8.count
    for capacity in [0, 1, 20, whole - 1] {
      let (_, layout) = try stored("HTTP/1.1 200 OK\nA: b", capacity: capacity)
      #expect(layout == nil)
    }
    #expect(try stored("HTTP/1.1 200 OK\nA: b", capacity: whole).layout != nil)
  }

  private func merged(
    _ old: String, _ new: String, capacity: Int = 4096
  ) throws -> (text: String, layout: StoredHead.Layout?) {
    let rule = CompiledCacheRule(CacheRule())
    let (head, _) = try stored("HTTP/1.1 200 Fine\n\(old)")
    let held = HeldText(head)
    var layout: StoredHead.Layout?
    let octets = try Heads.response("HTTP/1.1 304 Not Modified\n\(new)") { head in
      held.read { stored in
        Heads.appended(capacity: capacity) {
          layout = StoredHead.merge(
            stored, with: head, rule: rule, wallSeconds: now + 50, to: &$0)
        }
      }
    }
    return (text(octets), layout)
  }

  private let later = "Date: Sun, 06 Nov 1994 08:50:27 GMT\r\n"

  @Test(arguments: [
    ("A: 1", "B: 2", "A: 1\r\nB: 2\r\n"), ("A: 1", "a: 2", "a: 2\r\n"),
    ("A: 1\nA: 2\nC: 3", "A: 4", "C: 3\r\nA: 4\r\n"),
    ("A: 1", "A: 2\nA: 3", "A: 2\r\nA: 3\r\n"),
    (
      "ETag: \"a\"\nCache-Control: max-age=1", "Cache-Control: max-age=2\nETag: \"a\"",
      "Cache-Control: max-age=2\r\nETag: \"a\"\r\n"
    ),
    ("Content-Encoding: gzip", "Content-Encoding: br", "Content-Encoding: gzip\r\n"),
    ("Content-Range: x", "Content-Range: y", "Content-Range: x\r\n"),
    ("A: 1", "Content-Length: 5", "A: 1\r\n"), ("A: 1", "Age: 5", "A: 1\r\n"),
    ("A: 1", "Set-Cookie: a=b", "A: 1\r\n"), ("A: 1", "Connection: A\nA: 2", "A: 1\r\n"),
    ("A: 1", "Cache-Tag: x", "A: 1\r\n"),
    ("Content-Type: a", "Content-Type: b", "Content-Type: b\r\n"),
    ("Vary: a", "X: y", "Vary: a\r\nX: y\r\n"),
  ])
  func `is updated by a 304 in everything but what describes the content`(
    old: String, new: String, expected: String
  ) throws {
    let (head, layout) = try merged(old, new)
    #expect(head == "HTTP/1.1 200 Fine\r\n\(expected)\(later)\r\n")
    #expect(layout?.status == 200 && layout?.length == head.utf8.count)
    #expect(layout?.dateSeconds == now + 50)
  }

  @Test func `takes the date of a 304 that has one`() throws {
    let (head, layout) = try merged("A: 1", "Date: Sun, 06 Nov 1994 08:50:00 GMT")
    #expect(head == "HTTP/1.1 200 Fine\r\nA: 1\r\nDate: Sun, 06 Nov 1994 08:50:00 GMT\r\n\r\n")
    #expect(layout?.dateSeconds == now + 23)
  }

  @Test func `does not merge into too little room, or with what is no head`() throws {
    let whole = try merged("A: 1", "B: 2").text.utf8.count
    #expect(try merged("A: 1", "B: 2", capacity: whole - 1).layout == nil)
    let rule = CompiledCacheRule(CacheRule())
    for bad in ["", "HTTP/1.1 200 OK", "HTTP/1.1 200 OK\r\nA: b\r\n", "x\r\n\r\n"] {
      let none = try Heads.response("HTTP/1.1 304 X") { head in
        HeldText(bad).read { bad in
          Heads.appended { sink in
            let layout = StoredHead.merge(bad, with: head, rule: rule, wallSeconds: 0, to: &sink)
            #expect(layout == nil)
          }
        }
      }
      #expect(none?.isEmpty ?? true || bad.isEmpty)
    }
  }

  @Test(arguments: [
    ("ETag: \"a\"", true), ("ETag: W/\"a\"", true), ("ETag: \"b\"", false), ("X: y", true),
    ("Last-Modified: Sun, 06 Nov 1994 08:49:30 GMT", true),
    ("Last-Modified: Sun, 06 Nov 1994 08:49:31 GMT", false),
    ("ETag: \"a\"\nLast-Modified: Sun, 06 Nov 1994 08:49:31 GMT", true),
    ("ETag: \"b\"\nLast-Modified: Sun, 06 Nov 1994 08:49:30 GMT", false),
  ])
  func `is confirmed only by a 304 that is about it`(lines: String, isConfirmed: Bool) throws {
    let etag = HeldText("\"a\"")
    let modified = HeldText("Sun, 06 Nov 1994 08:49:30 GMT")
    try withExtendedLifetime((etag, modified)) {
      try Heads.response("HTTP/1.1 304 X\n\(lines)") { head in
        let stored = StoredValidators(
          etag: etag.view, lastModified: modified.view, dateSeconds: now)
        #expect(StoredHead.isConfirmed(by: head, stored) == isConfirmed)
        let none = StoredValidators(etag: .empty, lastModified: .empty, dateSeconds: now)
        #expect(StoredHead.isConfirmed(by: head, none) == (lines == "X: y"))
      }
    }
  }

  @Test func `is read again as it was written`() throws {
    let (head, layout) = try stored("HTTP/1.1 200 OK\nCache-Control: max-age=60\nETag: \"a\"")
    var read = ResponseHead()
    let held = HeldText(head)
    let isRead = held.read { StoredHead.load($0, into: &read) }
    let isSame =
      read.status == 200 && read.fields.count == 3
      && read.fields[1].valueRange == layout?.etag && read.fields.contains(.cacheControl)
    #expect(isRead && isSame)
    let rule = CompiledCacheRule(CacheRule())
    let verdict = held.read { _ in
      ResponsePolicy.judge(
        RequestConstraints(), read, rule: rule,
        timing: ResponseTiming(wallSeconds: now, delay: .zero), age: 0)
    }
    #expect(verdict == .store(Freshness(initialAge: .zero, lifetime: 60)))
  }
}
