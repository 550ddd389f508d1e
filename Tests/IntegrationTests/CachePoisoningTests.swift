import Foundation
import TestSupport
import Testing

/// The known ways to have others served what an attacker chose (rule 57), each tried from outside:
/// the attacker asks first, the victim next, and the victim must get what the origin makes of the
/// victim's own request.
@Suite(.blocking) struct `Cache poisoning` {
  private static let fresh = "Cache-Control: public, max-age=60"

  /// Answers with everything of the request that an application may build links of.
  private static func echo(_ extra: [String] = []) throws -> CacheOrigin {
    try CacheOrigin { head, _ in
      let names = [
        "host", "x-forwarded-host", "x-forwarded-proto", "x-forwarded-port", "x-original-url",
        "x-rewrite-url", "x-original-host", "x-http-method-override", "x-method-override",
        "x-http-method", "forwarded", "x-forwarded-prefix",
      ]
      let seen = names.map { "\($0)=\(head.all($0).joined(separator: ","))" }
      return .text(
        CacheOrigin.answer(
          200, [Self.fresh] + extra, "\(head.method) \(head.target) \(seen.joined(separator: " "))")
      )
    }
  }

  @Test func `fields that say where a request went are weir's own, so no client poisons them`()
    throws
  {
    let attacks = [
      "X-Forwarded-Host: evil.example\r\n", "X-Forwarded-Proto: https\r\n",
      "X-Forwarded-Port: 1337\r\n", "X-Original-URL: /admin\r\n", "X-Rewrite-URL: /admin\r\n",
      "X-Original-Host: evil.example\r\n", "X-HTTP-Method-Override: POST\r\n",
      "X-Method-Override: POST\r\n", "X-HTTP-Method: DELETE\r\n",
      "Forwarded: host=evil.example\r\n", "x_forwarded_host: evil.example\r\n",
      "X-Forwarded-Host : evil.example\r\n",
    ]
    let origin = try Self.echo()
    try withDaemon(.cached([origin.address])) { daemon in
      for (index, fields) in attacks.enumerated() {
        _ = try daemon.get("/\(index)", fields: fields)
        let victim = try daemon.get("/\(index)")
        for word in ["evil", "1337", "/admin", "DELETE", "POST", "https"] {
          #expect(!victim.text.contains(word), "\(fields): \(victim.text)")
        }
        #expect(victim.text.hasPrefix("GET /\(index) host=example.com"), "\(victim.text)")
      }
    }
  }

  @Test func `what a trusted proxy says of scheme and host tells resources apart`() throws {
    let origin = try Self.echo()
    var configuration = DaemonConfiguration.cached([origin.address])
    configuration.top += "\ntrusted-proxies 127.0.0.1/32"
    try withDaemon(configuration) { daemon in
      let plain = try daemon.get("/a")
      #expect(plain.text.contains("x-forwarded-proto=http "))
      let sealed = try daemon.get("/a", fields: "X-Forwarded-Proto: https\r\n")
      #expect(sealed.text.contains("x-forwarded-proto=https "), "\(sealed.text)")
      let other = try daemon.get("/a", fields: "X-Forwarded-Host: other.example\r\n")
      #expect(other.text.contains("x-forwarded-host=other.example "), "\(other.text)")
      #expect(CacheWord(other).forward == "bypass")
      // As a proxy passes it on that does not know it.
      for claim in ["host=other.example", "for=1.2.3.4;proto=https", "host=\"x"] {
        let forwarded = try daemon.get("/a", fields: "Forwarded: \(claim)\r\n")
        #expect(forwarded.text.contains(claim), "\(forwarded.text)")
        #expect(CacheWord(forwarded).forward == "bypass", "\(claim)")
      }
      let same = try daemon.get(
        "/a", fields: "Forwarded: for=1.2.3.4;host=Example.com;proto=http\r\n")
      #expect(CacheWord(same).isHit && same.text == plain.text, "\(same.head.text)")
      let port = try daemon.get("/a", fields: "X-Forwarded-Port: 8443\r\n")
      #expect(port.text.contains("x-forwarded-port=8443 "), "\(port.text)")
      for (fields, was) in [("", plain), ("X-Forwarded-Proto: https\r\n", sealed)] {
        let again = try daemon.get("/a", fields: fields)
        #expect(again.text == was.text && CacheWord(again).isHit, "\(fields)")
      }
    }
  }

  @Test func `routes that share a URL never answer for each other`() throws {
    let origins = try ["main", "preview"].map { name in
      try CacheOrigin { _, _ in .text(CacheOrigin.answer(200, [Self.fresh], name)) }
    }
    var configuration = DaemonConfiguration.cached([origins[0].address], "query=none")
    configuration.blocks = """
      upstream preview { \n backend \(origins[1].address) \n }
      route /a { \n when header X-Preview yes \n upstream preview \n cache main \n }
      route /a { \n when query beta \n upstream preview \n cache main query=none \n }
      route /a { \n upstream app \n cache main query=none \n }
      """
    try withDaemon(configuration) { daemon in
      for turn in 0..<2 {
        for (target, fields, text) in [
          ("/a", "X-Preview: yes\r\n", "preview"), ("/a?beta", "", "preview"), ("/a", "", "main"),
          ("/a", "X-Preview: no\r\n", "main"),
        ] {
          let response = try daemon.get(target, fields: fields)
          #expect(response.text == text, "\(target) \(fields)")
          if turn > 0 { #expect(CacheWord(response).isHit, "\(target) \(fields)") }
        }
      }
      // One URL, purged with all that is stored of it.
      let done = try daemon.command(
        "purge", "--admin", "unix:\(daemon.adminPath)", "--url", "http://example.com/a")
      #expect(done.output.hasPrefix("3 responses"), "\(done.output)")
    }
  }

  @Test func `a GET with content is nobody else's`() throws {
    let origin = try CacheOrigin { head, before in
      .text(CacheOrigin.answer(200, [Self.fresh], "\(head["content-length"] ?? "none") \(before)"))
    }
    try withDaemon(.cached([origin.address])) { daemon in
      for fat in [
        "Content-Length: 4\r\n\r\nevil", "Transfer-Encoding: chunked\r\n\r\n4\r\nevil\r\n0\r\n\r\n",
      ] {
        let client = try daemon.connect()
        try client.send("GET /a HTTP/1.1\r\nHost: example.com\r\n\(fat)")
        let response = try client.readResponse()
        #expect(CacheWord(response).forward == "bypass", "\(response.head.text)")
      }
      #expect(try daemon.get("/a").text == "none 2")
      #expect(try CacheWord(daemon.get("/a")).isHit)
    }
  }

  @Test func `paths that differ in an octet are different, and go upstream as they are`() throws {
    let origin = try Self.echo()
    let paths = [
      "/a/b", "/a%2Fb", "/a%2fb", "/a//b", "/a/b/", "/a/./b", "/a/c/../b", "/A/b", "/a/%62",
      "/a/b%00", "/a/b;x=1", "/a/b%3Fq", "/a/b?", "/a/b?q", "/a/b?q=", "/a/b?Q", "/a/b?q&q",
      "/a/b?q%00", "/a/b/style.css", "/a/b%0Aevil", "/a\\b", "/a/b%2e%2e%2fc", "/a/b..;/c",
    ]
    try withDaemon(.cached([origin.address])) { daemon in
      var accepted = 0
      for path in paths {
        let response = try daemon.get(path)
        guard response.status == 200 else {
          // Refused outright is safe, too; nothing of it may have gone upstream.
          #expect(!origin.requests.contains { $0.head.target == path }, "\(path)")
          continue
        }
        accepted += 1
        #expect(!CacheWord(response).isHit, "\(path)")
        #expect(response.text.hasPrefix("GET \(path) "), "\(path): \(response.text)")
      }
      #expect(accepted >= 15 && origin.requests.count == accepted)
      for path in paths {
        let again = try daemon.get(path)
        guard again.status == 200 else { continue }
        #expect(again.text.hasPrefix("GET \(path) ") && CacheWord(again).isHit, "\(path)")
      }
    }
  }

  @Test func `forms of one host are one resource, of which the origin sees one form`() throws {
    let origin = try Self.echo()
    try withDaemon(.cached([origin.address])) { daemon in
      let forms = [
        "EXAMPLE.com:80", "example.COM", "example.com.", "example.com:80", "example.com.:80",
        "example.com:080",
      ]
      for (index, form) in forms.enumerated() {
        // One that is refused is no danger.
        guard try daemon.get("/\(index)", host: form).status == 200 else { continue }
        let victim = try daemon.get("/\(index)")
        #expect(
          victim.text.contains(" host=example.com x-forwarded-host=example.com "),
          "\(form): \(victim.text)")
        #expect(victim.text.contains("host=\"example.com\""), "\(form): \(victim.text)")
        #expect(CacheWord(victim).isHit, "\(form): \(victim.head.text)")
      }
      // Other ports and names are others.
      for host in ["example.com:81", "example.com:443", "example.org", "sub.example.com"] {
        let response = try daemon.get("/0", host: host)
        #expect(response.text.contains(" host=\(host) ") && !CacheWord(response).isHit, "\(host)")
      }
    }
  }

  @Test func `an absolute form counts before Host, for the key and for the origin`() throws {
    let origin = try Self.echo()
    try withDaemon(.cached([origin.address])) { daemon in
      let attacker = try daemon.get("http://evil.example/a", host: "example.com")
      if attacker.status == 200 { #expect(attacker.text.contains(" host=evil.example ")) }
      let victim = try daemon.get("/a", host: "example.com")
      #expect(victim.text.contains(" host=example.com ") && !CacheWord(victim).isHit)
      let same = try daemon.get("http://example.com/a", host: "example.com")
      #expect(CacheWord(same).isHit && same.text == victim.text)
      // Two of them, or one with a name within, are refused before any cache.
      for request in [
        "GET /b HTTP/1.1\r\nHost: example.com\r\nHost: evil.example\r\n\r\n",
        "GET /b HTTP/1.1\r\nHost: evil@example.com\r\n\r\n",
        "GET http://u@example.com/b HTTP/1.1\r\nHost: example.com\r\n\r\n",
        "GET /b HTTP/1.1\r\nHost: example.com/evil\r\n\r\n",
      ] {
        let client = try daemon.connect()
        try client.send(request)
        #expect(try client.readResponse().status == 400, "\(request)")
      }
    }
  }

  @Test func `what the key drops of a query the origin does not see`() throws {
    let origin = try Self.echo()
    var configuration = DaemonConfiguration.cached([origin.address], "query=drop:utm_*,cb")
    configuration.blocks = ""
    try withDaemon(configuration) { daemon in
      let rows = [
        ("/a?utm_source=%3Cscript%3E&id=1", "/a?id=1"), ("/a?id=1&cb=evil", "/a?id=1"),
        ("/a?id=1&cb", "/a?id=1"), ("/a?cb=1&id=1&utm_x=2", "/a?id=1"),
        // Names are compared octet by octet, so these two are no parameters that are dropped.
        ("/a?id=1&CB=evil", "/a?id=1&CB=evil"), ("/a?id=1&c%62=evil", "/a?id=1&c%62=evil"),
        // A semicolon separates nothing: it stays, in the key and upstream.
        ("/a?id=1;cb=evil", "/a?id=1;cb=evil"), ("/a?id=2&id=1", "/a?id=2&id=1"),
      ]
      for (target, asked) in rows {
        #expect(try daemon.get(target).text.hasPrefix("GET \(asked) "), "\(target)")
      }
      let victim = try daemon.get("/a?id=1")
      #expect(CacheWord(victim).isHit && victim.text.hasPrefix("GET /a?id=1 "))
    }
  }

  @Test func `ranges, conditions and HEAD leave nothing behind that is less than all`() throws {
    let attacks: [(String, String)] = [
      ("GET", "Range: bytes=0-1\r\n"), ("GET", "Range: bytes=9999-\r\n"), ("HEAD", ""),
      ("GET", "If-None-Match: *\r\n"),
      ("GET", "If-Modified-Since: Fri, 31 Dec 2100 23:59:59 GMT\r\n"),
      ("GET", "If-Match: \"x\"\r\n"),
      ("GET", "If-Unmodified-Since: Sat, 01 Jan 2000 00:00:00 GMT\r\n"),
      ("GET", "Range: bytes=0-1\r\nIf-Range: \"v1\"\r\n"), ("GET", "Expect: 100-continue\r\n"),
      ("GET", "TE: trailers\r\n"), ("GET", "Connection: x, close\r\n"),
    ]
    // An origin that obeys all of it, and lets everything be stored.
    let origin = try CacheOrigin { head, _ in
      let fields = [Self.fresh, "ETag: \"v1\""]
      if head.method == "HEAD" {
        return .text("HTTP/1.1 200 OK\r\n\(Self.fresh)\r\nContent-Length: 10\r\n\r\n")
      }
      if head["if-match"] != nil || head["if-unmodified-since"] != nil {
        return .text(CacheOrigin.answer(412, fields, "no"))
      }
      if head["if-none-match"] != nil || head["if-modified-since"] != nil {
        return .text(CacheOrigin.answer(304, fields))
      }
      if let range = head["range"] {
        return .text(
          range == "bytes=0-1"
            ? CacheOrigin.answer(206, fields + ["Content-Range: bytes 0-1/10"], "01")
            : CacheOrigin.answer(416, fields + ["Content-Range: bytes */10"], "none"))
      }
      return .text(CacheOrigin.answer(200, fields, "0123456789"))
    }
    try withDaemon(.cached([origin.address])) { daemon in
      for (index, (method, fields)) in attacks.enumerated() {
        _ = try daemon.get("/\(index)", fields: fields, method: method)
        let victim = try daemon.get("/\(index)")
        #expect(victim.status == 200 && victim.text == "0123456789", "\(method) \(fields)")
      }
    }
  }

  @Test func `a response that ends early is nobody's`() throws {
    let ways: [String: String] = [
      "/length": "Content-Length: 10\r\n\r\n01234",
      "/chunk": "Transfer-Encoding: chunked\r\n\r\n5\r\n01234\r\n",
      "/inchunk": "Transfer-Encoding: chunked\r\n\r\na\r\n01234",
      "/badchunk": "Transfer-Encoding: chunked\r\n\r\n5\r\n01234\r\nzz\r\n",
    ]
    let origin = try CacheOrigin { head, before in
      guard before == 0, let way = ways[head.target] else {
        return .text(CacheOrigin.answer(200, [Self.fresh], "whole"))
      }
      return .byHand { try $0.send("HTTP/1.1 200 OK\r\n\(Self.fresh)\r\n\(way)") }
    }
    try withDaemon(.cached([origin.address])) { (daemon: DaemonProcess) throws in
      for path in ways.keys {
        // Cut short; or where nothing had gone to the client yet, an error or a second attempt's.
        if let cut = try? daemon.get(path) {
          #expect(cut.status == 502 || cut.text == "whole", "\(path)")
        }
        #expect(try daemon.get(path).text == "whole", "\(path)")
      }
    }
  }

  @Test func `cookies, credentials and what is private reach nobody else, by no way`() throws {
    let origin = try CacheOrigin { head, _ in
      let who = head["authorization"] ?? head["cookie"] ?? "nobody"
      switch head.target {
      case "/cookie":
        return .text(CacheOrigin.answer(200, [Self.fresh, "Set-Cookie: id=\(who)"], who))
      case "/private":
        return .text(CacheOrigin.answer(200, ["Cache-Control: max-age=60, private"], who))
      case "/targeted":
        return .text(
          CacheOrigin.answer(200, [Self.fresh, "CDN-Cache-Control: private, max-age=60"], who))
      default: return .text(CacheOrigin.answer(200, ["Cache-Control: max-age=60"], who))
      }
    }
    try withDaemon(.cached([origin.address], "ttl=60s ttl-overrides=on", workers: 2)) { daemon in
      for (path, fields) in [
        ("/cookie", "Cookie: alice\r\n"), ("/private", "Cookie: alice\r\n"),
        ("/targeted", "Cookie: alice\r\n"), ("/authorized", "Authorization: alice\r\n"),
      ] {
        #expect(try daemon.get(path, fields: fields).text == "alice")
        let other = try daemon.get(path)
        #expect(other.text == "nobody" && other["set-cookie"] != "id=alice", "\(path)")
      }
    }
  }

  @Test func `who waits for another's fetch gets nothing of his that is private`() throws {
    let gate = Gate()
    let origin = try CacheOrigin { head, _ in
      try gate.pass()
      let who = head["cookie"] ?? "nobody"
      return .text(
        CacheOrigin.answer(200, ["Cache-Control: private", "Set-Cookie: id=\(who)"], who))
    }
    try withDaemon(.cached([origin.address], workers: 2)) { daemon in
      let clients = try (0..<20).map { index in
        let client = try daemon.connect()
        try client.send("GET /a HTTP/1.1\r\nHost: a\r\nCookie: c\(index)\r\n\r\n")
        return client
      }
      #expect(origin.wait { $0.count == 1 })
      gate.open()
      for (index, client) in clients.enumerated() {
        let response = try client.readResponse()
        #expect(response.text == "c\(index)" && response["set-cookie"] == "id=c\(index)")
      }
    }
  }

  @Test func `Vary on what weir writes for each client answers nobody else`() throws {
    for name in ["X-Forwarded-For", "Forwarded", "X-Request-ID"] {
      let origin = try CacheOrigin { _, before in
        .text(CacheOrigin.answer(200, [Self.fresh, "Vary: \(name)"], "\(before)"))
      }
      try withDaemon(.cached([origin.address])) { (daemon: DaemonProcess) throws in
        #expect(try daemon.get("/a").text == "0")
        #expect(try daemon.get("/a").text == "1", "\(name)")
      }
    }
    // These follow from the key: a client's own value changes nothing that the origin sees.
    let origin = try Self.echo(["Vary: X-Forwarded-Host, X-Forwarded-Proto"])
    try withDaemon(.cached([origin.address])) { daemon in
      _ = try daemon.get("/a", fields: "X-Forwarded-Host: evil.example\r\n")
      #expect(try !(daemon.get("/a").text.contains("evil")))
    }
  }

  @Test func `answers that weir makes itself are never stored`() throws {
    let origin = try CacheOrigin { head, before in
      switch (head.target, before) {
      case ("/bad", 0): return .byHand { try $0.send("rubbish\r\n\r\n") }
      case ("/none", 0): return .byHand { _ in }
      case ("/big", 0):
        let field = String(repeating: "x", count: 200_000)
        return .byHand { try? $0.send("HTTP/1.1 200 OK\r\n\(Self.fresh)\r\nX: \(field)\r\n\r\n") }
      default: return .text(CacheOrigin.answer(200, [Self.fresh], "good"))
      }
    }
    var configuration = DaemonConfiguration.cached([origin.address], "ttl=60s status-ttl=502:60s")
    configuration.upstream = "retry off\ncircuit-breaker off"
    try withDaemon(configuration) { daemon in
      for path in ["/bad", "/none", "/big"] {
        #expect(try daemon.get(path).status == 502, "\(path)")
        #expect(try daemon.get(path).text == "good", "\(path)")
      }
      // Neither are refusals of a request.
      let client = try daemon.connect()
      try client.send("GET /c HTTP/1.1\r\nHost: example.com\r\nA : b\r\n\r\n")
      #expect(try client.readResponse().status == 400)
      #expect(try daemon.get("/c").text == "good")
    }
  }
}
