import Foundation
import Primitives
import TestUnitSupport
import Testing

@testable import Telemetry

/// The line of a record whose texts are given.
private func line(
  _ format: AccessLogOptions.Format, target: [UInt8] = Array("/a?b=c".utf8),
  referer: [UInt8] = [], userAgent: [UInt8] = Array("curl/8.0".utf8),
  _ change: (inout AccessRecord) -> Void = { _ in }
) -> [UInt8] {
  let destination = AccessRecord.preparedDestination(upstream: "app", backend: "10.0.0.11:8080")
  let held = [target, referer, userAgent, destination].map { HeldText($0) }
  return withExtendedLifetime(held) {
    var record = AccessRecord()
    record.unixSeconds = 1_767_323_045
    record.milliseconds = 7
    record.clientAddress = IPAddress(v4: 0xC000_0207)
    record.clientPort = 50_123
    record.method = ByteView("GET")
    record.target = held[0].view
    record.host = ByteView("www.example.com")
    record.version = "HTTP/1.1"
    record.status = 200
    record.responseOctets = 1024
    record.firstByteMicroseconds = 812
    record.totalMicroseconds = 1_234_567
    record.attempts = 1
    record.destination = held[3].view
    record.route = ByteView("*")
    record.requestID = ByteView("0123456789abcdef")
    record.referer = held[1].view
    record.userAgent = held[2].view
    change(&record)
    var batch = AccessLogBatch(format)
    guard batch.append(&record) else { return [] }
    return batch.lines.array
  }
}

private func text(_ bytes: [UInt8]) -> String { String(decoding: bytes, as: UTF8.self) }

private func json(_ bytes: [UInt8]) throws -> [String: Any] {
  let object = try JSONSerialization.jsonObject(with: Data(bytes))
  return try #require(object as? [String: Any])
}

@Suite struct AccessLogTests {
  @Test func `the prepared part of a hit's line is what its fields would say`() {
    let name = AccessRecord.preparedText("www \"a\" /b/*")
    let (route, prepared) = (HeldText(name), HeldText(AccessRecord.preparedHit(route: name)))
    withExtendedLifetime((route, prepared)) {
      let byFields = line(.json, referer: Array("\"x\"".utf8)) {
        $0.attempts = 0
        $0.destination = AccessRecord.noDestination
        $0.route = route.view
        $0.cacheResult = "hit"
      }
      let atOnce = line(.json, referer: Array("\"x\"".utf8)) { $0.prepared = prepared.view }
      #expect(text(byFields) == text(atOnce))
      #expect(text(atOnce).contains("\"cache\":\"hit\""))
    }
  }

  @Test func `a JSON line, golden`() {
    #expect(
      text(line(.json)) == """
        {"time":"2026-01-02T03:04:05.007Z","client":"192.0.2.7","client_port":50123,\
        "method":"GET","target":"/a?b=c","host":"www.example.com","version":"HTTP/1.1",\
        "status":200,"request_bytes":0,"response_bytes":1024,"connect_us":null,\
        "first_byte_us":812,"total_us":1234567,"attempts":1,"upstream":"app",\
        "backend":"10.0.0.11:8080","route":"*","end":"completed",\
        "request_id":"0123456789abcdef","referer":"","user_agent":"curl/8.0",\
        "traceparent":""}

        """)
  }

  @Test func `a combined line, golden`() {
    #expect(
      text(line(.combined)) == """
        192.0.2.7 - - [02/Jan/2026:03:04:05 +0000] "GET /a?b=c HTTP/1.1" 200 1024 "-" "curl/8.0"

        """)
    let escaped = line(.combined, referer: Array("a\"b\\c\u{7}\u{7F}é".utf8)) {
      $0.responseOctets = 0
    }
    #expect(
      text(escaped).hasSuffix(
        "\" 200 - \"a\\x22b\\x5Cc\\x07\\x7F\\xC3\\xA9\" \"curl/8.0\"\n"))
  }

  @Test func `IPv6 clients and every length of number`() throws {
    for number in [0, 9, 10, 99, 100, 999, 1000, 9999, 10_000, 99_999, 1_234_567_890_123, Int.max] {
      let object = try json(
        line(.json) {
          $0.responseOctets = number
          $0.clientAddress = IPAddress("2001:db8::7") ?? IPAddress(v4: 0)
        })
      #expect((object["response_bytes"] as? NSNumber)?.int64Value == Int64(number))
      #expect(object["client"] as? String == "2001:db8::7")
    }
  }

  @Test func `every octet at every place of a text comes back from JSON`() throws {
    for length in [1, 7, 8, 9, 15, 16, 17, 31, 33, 40] {
      for octet in 0...255 as ClosedRange<UInt8> {
        let place = Int(octet) % length
        var bytes = [UInt8](repeating: UInt8(ascii: "x"), count: length)
        bytes[place] = octet
        let object = try json(line(.json, target: bytes))
        // An octet that is no UTF-8 of its own stands for the character of its number.
        let expected = String(String.UnicodeScalarView(bytes.map { UnicodeScalar($0) }))
        #expect(object["target"] as? String == expected)
      }
    }
  }

  @Test(arguments: 1...6 as ClosedRange<UInt64>)
  func `whatever the octets, a JSON line is one line, valid, and says the same`(
    seed: UInt64
  ) throws {
    var random = SeededRandom(seed: seed)
    let alphabet =
      Array("ab/\"\\\u{1}\n\u{7F}é€😀".utf8) + [0xFF, 0xC0, 0xED, 0xA0, 0xF4, 0x90, 0xE2]
    for _ in 0..<400 {
      func bytes() -> [UInt8] {
        (0..<random.below(70)).map { _ in
          seed % 2 == 0
            ? UInt8(random.below(256)) : alphabet[random.below(alphabet.count)]
        }
      }
      let target = bytes()
      let referer = bytes()
      let result = line(.json, target: target, referer: referer)
      #expect(result.filter { $0 == 0x0A }.count == 1)
      #expect(!result.dropLast().contains { $0 < 0x20 })
      #expect(String(validating: result, as: UTF8.self) != nil)
      let object = try json(result)
      #expect(object["target"] as? String == expectedText(target))
      #expect(object["referer"] as? String == expectedText(referer))
      let combined = line(.combined, target: target, referer: referer)
      #expect(combined.dropLast().allSatisfy { (0x20..<0x7F).contains($0) })
      #expect(combined.filter { $0 == 0x22 }.count == 6)
    }
  }

  /// Decodes by the standard library, one valid scalar at a time.
  private func expectedText(_ bytes: [UInt8]) -> String {
    var scalars = String.UnicodeScalarView()
    var index = 0
    while index < bytes.count {
      let valid = (1...4).first { length in
        guard index + length <= bytes.count else { return false }
        let part = bytes[index..<(index + length)]
        guard let text = String(validating: part, as: UTF8.self) else { return false }
        return text.unicodeScalars.count == 1
      }
      if let length = valid {
        let part = bytes[index..<(index + length)]
        scalars.append(contentsOf: String(decoding: part, as: UTF8.self).unicodeScalars)
        index += length
      } else {
        scalars.append(UnicodeScalar(bytes[index]))
        index += 1
      }
    }
    return String(scalars)
  }

  @Test func `texts too long for a line are cut, and the line stays whole`() throws {
    let long = [UInt8](repeating: 0xFF, count: 60_000)
    let result = line(.json, target: long, referer: long, userAgent: long)
    #expect(result.last == 0x0A)
    #expect(result.count < 128 * 1024)
    let target = try #require(try json(result)["target"] as? String)
    #expect(target.count > 1500)
  }

  @Test func `a full batch takes nothing of a line, and an emptied one takes it`() {
    let long = HeldText([UInt8](repeating: UInt8(ascii: "x"), count: 16_000))
    withExtendedLifetime(long) {
      var batch = AccessLogBatch(.json)
      var record = AccessRecord()
      record.target = long.view
      var lines = 0
      while batch.append(&record) { lines += 1 }
      let held = batch.lines.array
      #expect(lines >= 2)
      #expect(held.filter { $0 == 0x0A }.count == lines && held.last == 0x0A)
      batch.removeAll()
      let isEmpty = batch.isEmpty
      #expect(isEmpty)
      let taken = batch.append(&record)
      #expect(taken)
      #expect(batch.lines.array == Array(held.prefix(held.count / lines)))
    }
  }

  @Test func `a line that needs escapes does not change the lines around it`() {
    let quote = HeldText("say \"hi\"")
    withExtendedLifetime(quote) {
      var batch = AccessLogBatch(.combined)
      var plain = AccessRecord()
      plain.userAgent = ByteView("plain")
      var quoted = AccessRecord()
      quoted.userAgent = quote.view
      for var record in [plain, quoted, plain] { _ = batch.append(&record) }
      let lines = text(batch.lines.array).split(separator: "\n")
      #expect(lines.count == 3 && lines[0] == lines[2])
      #expect(lines[1].hasSuffix("\"say \\x22hi\\x22\""))
    }
  }

  @Test func `dates agree with Foundation's calendar`() {
    var random = SeededRandom(seed: 5)
    let style = ISO8601DateFormatter()
    var seconds: [Int64] = [0, -1, 951_782_400, 951_868_799, 4_107_542_400, 253_402_300_799]
    seconds += (0..<300).map { _ in Int64(random.below(8_000_000_000)) - 2_000_000_000 }
    for second in seconds {
      var bytes = [UInt8](repeating: 0, count: 40)
      let text = bytes.withByteSink { sink in
        sink.appendRFC3339(CivilTime(unixSeconds: second))
        return sink.view.string
      }
      #expect(text + "Z" == style.string(from: Date(timeIntervalSince1970: Double(second))))
    }
  }
}
