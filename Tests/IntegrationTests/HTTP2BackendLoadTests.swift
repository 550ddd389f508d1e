import Foundation
import TestSupport
import Testing

/// How many connections there are, what stalls and who waits for it, and how long anything lasts.
@Suite(.blocking) struct `HTTP/2 backends under load` {
  /// Sends `count` requests over as many connections of HTTP/1 and returns their answers.
  private func together(
    _ count: Int, _ daemon: DaemonProcess, _ path: String = "/"
  ) throws -> [WireConnection] {
    let clients = try (0..<count).map { _ in try daemon.connect() }
    for client in clients { try client.send("GET \(path) HTTP/1.1\r\nHost: a\r\n\r\n") }
    return clients
  }

  /// Answers `/hold` only once `count` of them have come on the connection.
  private static func holding(
    _ count: Int, settings: [(UInt16, UInt32)] = []
  ) throws -> ScriptedOrigin {
    let held = Monitor<[Int: [UInt32]]>([:])
    return try ScriptedOrigin(http2: settings) { service, request, number in
      guard request.path == "/hold" else {
        return try service.respond(request.stream, 200, [], "\(number)")
      }
      let waiting = held.update {
        $0[number, default: []].append(request.stream)
        return $0[number]!
      }
      guard waiting.count == count else { return }
      held.update { $0[number] = [] }
      for stream in waiting { try service.respond(stream, 200, [], "\(number)") }
    }
  }

  @Test func `fifty requests at once share one connection`() throws {
    let origin = try Self.holding(50)
    try withDaemon(`HTTP/2 to backends`.configuration([origin.address])) { daemon in
      for _ in 0..<2 {
        for client in try together(50, daemon, "/hold") {
          let response = try client.readResponse()
          #expect(response.status == 200 && response.text == "0")
        }
      }
    }
    #expect(origin.records.count == 1)
  }

  @Test func `more than one connection takes are opened in parallel`() throws {
    let origin = try Self.holding(4)
    try withDaemon(
      `HTTP/2 to backends`.configuration([origin.address], upstream: "http2-streams 4")
    ) { daemon in
      let answers = try together(12, daemon, "/hold").map { try $0.readResponse().text }
      #expect(answers.sorted() == ["0", "0", "0", "0", "1", "1", "1", "1", "2", "2", "2", "2"])
    }
    #expect(origin.records.count == 3)
  }

  @Test func `a backend's own limit holds as soon as it is known`() throws {
    let origin = try Self.holding(3, settings: [(3, 3)])
    try withDaemon(`HTTP/2 to backends`.configuration([origin.address])) { daemon in
      let first = try daemon.get("/")
      #expect(first.text == "0")
      let answers = try together(6, daemon, "/hold").map { try $0.readResponse().text }
      #expect(Set(answers).isSubset(of: ["0", "1"]) && answers.count == 6, "\(answers)")
      #expect(origin.records.count == 2)
    }
  }

  // MARK: Flow control

  /// Must show 8 of the issue.
  @Test func `a client that stalls stops its stream's backend, and no other`() throws {
    let sent = Monitor(0)
    let origin = try ScriptedOrigin { wire, _ in
      let service = try HTTP2Service(wire)
      var large: UInt32?
      while true {
        let request = try service.request()
        if request.path == "/large" {
          large = request.stream
          try service.head(request.stream, 200)
        } else {
          try service.respond(request.stream, 200, [], "other")
        }
        // As much as the windows allow by now, and no octet more.
        while let large, service.window(of: large) > 0 {
          let count = min(8192, service.window(of: large))
          try service.content(large, .init(repeating: 1, count: count), ends: false)
          sent.update { $0 += count }
        }
      }
    }
    try withDaemon(`HTTP/2 to backends`.configuration([origin.address])) { daemon in
      // This client gives no window at all: what is sent waits in weir.
      let stalled = try HTTP2Connection(try daemon.connect(), settings: [(4, 0)])
      try stalled.request(1, "GET", "/large")
      while try stalled.next().type != FrameType.headers {}
      #expect(sent.wait(until: .after(10)) { $0 >= 32 * 1024 })
      for _ in 0..<20 {
        let other = try daemon.get("/other")
        #expect(other.text == "other")
      }
      #expect(sent.current == 32 * 1024)
      // The same connection of its own goes on with another stream that has a window.
      try stalled.request(3, "HEAD", "/other")
      #expect(try stalled.answer(3).status == 200)
    }
    #expect(origin.records.count == 1)
  }

  @Test func `a backend that takes no content holds its client, and others go on`() throws {
    let origin = try ScriptedOrigin { wire, _ in
      let service = try HTTP2Service(wire)
      service.connection.givesWindow = false
      let upload = try service.requestHead()
      var hasWindow = false
      while true {
        let request = try service.request()
        if request.path == "/go" {
          hasWindow = true
          // Now there is window for the rest, on the connection and on the stream.
          try service.connection.window(0, 1 << 20)
          try service.connection.window(upload.stream, 1 << 20)
        }
        let isBeyond = request.path == "/up" && !hasWindow
        let content = request.content.count
        try service.respond(request.stream, 200, [], isBeyond ? "beyond" : "\(content)")
      }
    }
    try withDaemon(`HTTP/2 to backends`.configuration([origin.address])) { daemon in
      let client = try daemon.connect()
      try client.send("POST /up HTTP/1.1\r\nHost: a\r\nContent-Length: 200000\r\n\r\n")
      // The kernel's buffers have room for all of it.
      try client.send(.init(repeating: 7, count: 200_000))
      let others = try (0..<10).map { _ in try daemon.get("/other").text }
      #expect(others.allSatisfy { $0 == "0" })
      let go = try daemon.get("/go")
      #expect(go.status == 200)
      #expect(try client.readResponse().text == "200000")
    }
  }

  @Test func `an answer before the end of the content stops the content`() throws {
    let resets = Monitor(0)
    let origin = try ScriptedOrigin { wire, _ in
      let service = try HTTP2Service(wire)
      for _ in 0..<2 {
        let upload = try service.requestHead()
        try service.respond(upload.stream, 403, [], "no")
        try service.reset(upload.stream, 0)
        try service.connection.send(FrameType.ping, payload: .init(repeating: 0, count: 8))
        while try service.step().type != FrameType.ping {}
        resets.update { $0 += 1 }
      }
      let next = try service.request()
      try service.respond(next.stream, 200, [], "next")
      while true { try service.step() }
    }
    try withDaemon(`HTTP/2 to backends`.configuration([origin.address])) { daemon in
      let client = try daemon.connect()
      try client.send("POST /up HTTP/1.1\r\nHost: a\r\nContent-Length: 200000\r\n\r\nsome")
      let response = try client.readResponse()
      #expect(response.status == 403 && response.text == "no")
      try refuseUpload(daemon, resets)
      let next = try daemon.get("/next")
      #expect(next.text == "next")
    }
    #expect(origin.records.count == 1)
  }

  /// The same, where the client has not taken the answer: no more of its content is taken, either.
  private func refuseUpload(_ daemon: DaemonProcess, _ resets: Monitor<Int>) throws {
    let client = try HTTP2Connection(try daemon.connect(), settings: [(4, 0)])
    try client.request(1, "POST", "/up", ends: false)
    #expect(resets.wait(until: .patient) { $0 == 2 })
    try client.content(1, .init(repeating: 7, count: 20_000), ends: false)
    // The first answer comes before the stream has had its turn, the second one perhaps before the
    // window that it gave back: answers to PING go first.
    for _ in 0..<3 {
      try client.send(FrameType.ping, payload: .init(repeating: 0, count: 8))
      var frame = try client.next()
      while frame.type != FrameType.ping {
        #expect(frame.type != FrameType.windowUpdate || frame.stream == 0)
        client.keep(frame)
        frame = try client.next()
      }
    }
    try client.window(1, 10)
    let answer = try client.answer(1)
    #expect(answer.status == 403 && answer.content == Array("no".utf8))
  }

  // MARK: Cancellation and time

  @Test func `a client that leaves cancels its stream, and nothing else`() throws {
    let code = Monitor<UInt32?>(nil)
    let arrived = Monitor(0)
    let origin = try ScriptedOrigin { wire, _ in
      let service = try HTTP2Service(wire)
      for isBegun in [false, true] {
        let request = try service.request()
        arrived.update { $0 += 1 }
        if isBegun { try service.head(request.stream, 200) }
        let reset = try service.reset(of: request.stream)
        code.update { $0 = reset }
      }
      while true {
        let request = try service.request()
        try service.respond(request.stream, 200, [], "still here")
      }
    }
    try withDaemon(`HTTP/2 to backends`.configuration([origin.address])) { daemon in
      for isBegun in [false, true] {
        let client = try HTTP2Connection(try daemon.connect())
        try client.request(1, "GET", "/")
        if isBegun {
          while try client.next().type != FrameType.headers {}
        } else {
          #expect(arrived.wait(until: .after(10)) { $0 == 1 })
        }
        code.update { $0 = nil }
        try client.send(FrameType.reset, stream: 1, payload: HTTP2Connection.octets(UInt32(8)))
        #expect(code.wait(until: .after(10)) { $0 != nil } && code.current == 8)
      }
      let other = try daemon.get("/other")
      #expect(other.text == "still here")
    }
    #expect(origin.records.count == 1)
  }

  @Test func `a silent stream is given up, and a silent connection with it`() throws {
    let codes = Monitor<[UInt32]>([])
    let origin = try ScriptedOrigin(http2: []) { service, request, number in
      if request.path == "/silent" {
        let code = try service.reset(of: request.stream)
        codes.update { $0.append(code) }
      } else {
        try service.respond(request.stream, 200, [], "\(number)")
      }
    }
    let configuration = `HTTP/2 to backends`.configuration(
      [origin.address], upstream: "first-byte-timeout 300ms\nretry attempts=1")
    try withDaemon(configuration) { daemon in
      let first = try daemon.get("/")
      #expect(first.text == "0")
      let silent = try daemon.get("/silent")
      #expect(silent.status == 504)
      #expect(codes.wait(until: .after(10)) { $0 == [8] })
      let next = try daemon.get("/")
      #expect(next.text == "1")
    }
  }

  @Test func `an idle connection answers pings, and ends with a GOAWAY when its time is over`()
    throws
  {
    let goAway = Monitor<UInt32?>(nil)
    let origin = try ScriptedOrigin { wire, _ in
      let service = try HTTP2Service(wire)
      let request = try service.request()
      try service.respond(request.stream, 200, [], "ok")
      try service.connection.send(FrameType.ping, payload: Array("12345678".utf8))
      while true {
        let frame = try service.connection.next()
        if frame.type == FrameType.ping, frame.payload == Array("12345678".utf8) { break }
      }
      let code = try service.connection.untilEnd()
      goAway.update { $0 = code ?? 999 }
    }
    try withDaemon(
      `HTTP/2 to backends`.configuration([origin.address], upstream: "pool-idle-timeout 300ms")
    ) { daemon in
      let response = try daemon.get("/")
      #expect(response.text == "ok")
      #expect(goAway.wait(until: .after(10)) { $0 == 0 })
    }
  }

  @Test func `a reload that takes a backend away lets its streams finish`() throws {
    let release = Monitor(false)
    let origin = try ScriptedOrigin(http2: []) { service, request, _ in
      try service.head(request.stream, 200)
      _ = release.wait(until: .after(20)) { $0 }
      try service.content(request.stream, Array("whole".utf8))
    }
    let other = try ScriptedOrigin(http2: []) { service, request, _ in
      try service.respond(request.stream, 200, [], "other")
    }
    try withDaemon(`HTTP/2 to backends`.configuration([origin.address])) { daemon in
      let client = try HTTP2Connection(try daemon.connect())
      try client.request(1, "GET", "/")
      var frame = try client.next()
      while frame.type != FrameType.headers { frame = try client.next() }
      client.keep(frame)
      try daemon.reload(`HTTP/2 to backends`.configuration([other.address]))
      let next = try daemon.get("/")
      #expect(next.text == "other")
      release.update { $0 = true }
      let answer = try client.answer(1)
      #expect(answer.content == Array("whole".utf8) && answer.resetCode == nil)
      #expect(origin.wait { $0.first?.hasEnded == true })
    }
  }

  // MARK: TLS and checks

  @Test func `TLS agrees on h2, with one that does not nothing is sent`() throws {
    let certificates = try TestCertificates()
    let pair = try certificates.issue(["api.internal"])
    for isH2 in [true, false] {
      let tls = try TestTLS(serving: pair, agreeing: isH2 ? "h2" : "http/1.1")
      let origin = try ScriptedOrigin { wire, _ in
        try wire.startTLS(tls)
        let service = try HTTP2Service(wire)
        while true {
          let request = try service.request()
          try service.respond(request.stream, 200, [], request[":scheme"]!)
        }
      }
      let configuration = `HTTP/2 to backends`.configuration(
        [origin.address],
        upstream: "tls {\nca \(certificates.authority)\nserver-name api.internal\n}")
      try withDaemon(configuration) { daemon in
        for _ in 0..<3 {
          let response = try daemon.get("/")
          if isH2 {
            #expect(response.status == 200 && response.text == "https")
          } else {
            #expect(response.status == 502)
            #expect(response["proxy-status"]?.contains("error=tls_protocol_error") == true)
          }
        }
        if !isH2 {
          #expect(daemon.process.waitForOutput { $0.contains("HTTP/2 was not agreed on") })
        }
      }
      #expect(isH2 ? origin.records.count == 1 : origin.receivedCount == 0)
    }
  }

  @Test func `health checks speak it too`() throws {
    let isWell = Monitor(true)
    let origin = try ScriptedOrigin(http2: []) { service, request, _ in
      let status = request.path == "/health" && !isWell.current ? 500 : 200
      try service.respond(request.stream, status, [], request.path == "/health" ? "fine" : "served")
    }
    let configuration = `HTTP/2 to backends`.configuration(
      [origin.address],
      upstream: "health-check GET /health interval=100ms rise=1 fall=1 contains=fine")
    try withDaemon(configuration) { daemon in
      let first = try daemon.get("/")
      #expect(first.text == "served")
      isWell.update { $0 = false }
      #expect(daemon.process.waitForOutput { $0.contains("health check failed, down") })
      isWell.update { $0 = true }
      #expect(daemon.process.waitForOutput { $0.contains("health check passes, up") })
      let last = try daemon.get("/")
      #expect(last.text == "served")
    }
  }
}
