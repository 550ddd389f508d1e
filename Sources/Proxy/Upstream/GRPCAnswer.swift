import HTTP
import HTTP1
import Primitives
import Resilience

/// Reads what a backend answers to a call of `grpc.health.v1.Health/Check`, part by part as it
/// comes: a head, one message behind its prefix, and trailers (gRPC over HTTP/2, "Responses").
///
/// Only `SERVING` behind 200 and with `grpc-status: 0` passes; whatever is not exactly such an
/// answer is a failure that says what was wrong with it.
struct GRPCAnswer {
  /// Of the message; the one of the protocol has two octets.
  static let maxMessageBytes = 1024
  /// A flag and the message's length.
  private static let prefixBytes = 5
  private static let serving: UInt64 = 1

  private var content: [UInt8] = []

  // MARK: The call

  /// The head of the call, as HTTP/1 would have it.
  static func request(_ check: GRPCCheck, authority: String, timeout: TimeAmount) -> [UInt8] {
    var text =
      "POST /grpc.health.v1.Health/Check HTTP/1.1\r\nHost: \(check.host ?? authority)\r\n"
      + "Content-Type: application/grpc\r\nTE: trailers\r\n"
      + "grpc-timeout: \(timeout.milliseconds)m\r\n"
    let names = Set(check.fields.map { $0.name.lowercased() })
    if !names.contains("user-agent") { text += "User-Agent: weir-health-check\r\n" }
    for field in check.fields { text += "\(field.name): \(field.value)\r\n" }
    return Array("\(text)\r\n".utf8)
  }

  /// Its message: `HealthCheckRequest { string service = 1; }`, where no field means no service.
  static func message(service: String) -> [UInt8] {
    let name = Array(service.utf8)
    var message: [UInt8] = []
    if !name.isEmpty { message = [0x0A] + varint(name.count) + name }
    let length = UInt32(message.count)
    return [0] + (0..<4).reversed().map { UInt8(truncatingIfNeeded: length >> ($0 * 8)) } + message
  }

  private static func varint(_ value: Int) -> [UInt8] {
    var (octets, rest) = ([UInt8](), value)
    while rest >= 0x80 {
      octets.append(UInt8(rest & 0x7F) | 0x80)
      rest >>= 7
    }
    return octets + [UInt8(rest)]
  }

  // MARK: The answer

  /// A head, interim or final. `endsStream`: the trailers are in it ("Trailers-Only").
  func responded(
    _ octets: ByteView, endsStream: Bool, _ head: inout ResponseHead
  ) -> CheckAnswer.Verdict {
    do throws(HeadFault) {
      let length = try HeadParser.parseResponse(
        octets, into: &head, limits: HeadLimits(), isHead: false)
      guard length > 0 else { return .failed(.notGRPC) }
    } catch { return .failed(.notGRPC) }
    guard head.status >= 200 else { return endsStream ? .failed(.notGRPC) : .needsMore }
    guard head.status == 200 else { return .failed(.status(Int(head.status))) }
    guard let type = head.fields.firstIndex(of: .contentType),
      GRPCAnswer.isGRPC(octets.slice(head.fields[type].valueRange))
    else { return .failed(.notGRPC) }
    return endsStream ? judge(head.fields, octets) : .needsMore
  }

  /// `application/grpc`, alone or with a format or parameter behind it.
  private static func isGRPC(_ type: ByteView) -> Bool {
    let prefix = ByteView("application/grpc")
    guard type.count >= prefix.count,
      type.slice(0, prefix.count).equalsIgnoringCase(prefix)
    else { return false }
    return type.count == prefix.count
      || [UInt8(ascii: "+"), UInt8(ascii: ";")].contains(type[prefix.count])
  }

  /// More of the content.
  mutating func received(_ octets: ByteView) -> CheckAnswer.Verdict {
    guard content.count + octets.count <= GRPCAnswer.prefixBytes + GRPCAnswer.maxMessageBytes else {
      return .failed(.oversized)
    }
    content += octets.array
    guard let length = announced else { return .needsMore }
    // Compression was not offered, and one message is all there is.
    if content[0] != 0 || content.count > GRPCAnswer.prefixBytes + length {
      return .failed(.notGRPC)
    }
    return length > GRPCAnswer.maxMessageBytes ? .failed(.oversized) : .needsMore
  }

  /// The trailers, which end the call.
  func ended(_ lines: ByteView, _ head: inout ResponseHead) -> CheckAnswer.Verdict {
    do throws(HeadFault) {
      let length = try HeadParser.parseTrailers(lines, into: &head.fields, limits: HeadLimits())
      guard length > 0 else { return .failed(.notGRPC) }
    } catch { return .failed(.notGRPC) }
    return judge(head.fields, lines)
  }

  /// The message's length by its prefix, once that is there.
  private var announced: Int? {
    guard content.count >= GRPCAnswer.prefixBytes else { return nil }
    return content[1..<GRPCAnswer.prefixBytes].reduce(0) { $0 << 8 | Int($1) }
  }

  private func judge(_ fields: borrowing Fields, _ lines: ByteView) -> CheckAnswer.Verdict {
    let name = ByteView("grpc-status")
    guard let index = fields.firstIndex(named: name, in: lines),
      fields.firstIndex(named: name, in: lines, from: index + 1) == nil
    else { return .failed(.notGRPC) }
    let value = lines.slice(fields[index].valueRange)
    guard (1...3).contains(value.count), let code = value.decimal else { return .failed(.notGRPC) }
    guard code == 0 else { return .failed(.grpcStatus(code)) }
    guard let length = announced, content.count == GRPCAnswer.prefixBytes + length,
      let status = GRPCAnswer.servingStatus(content[GRPCAnswer.prefixBytes...])
    else { return .failed(.notGRPC) }
    return status == GRPCAnswer.serving ? .passed : .failed(.notServing(status))
  }

  /// The field of `HealthCheckResponse { ServingStatus status = 1; }`, 0 where it is not there;
  /// `nil` where the octets are no such message. Fields that the protocol may get later are passed
  /// over (Protocol Buffers, "Encoding"); groups, which it has given up, are not.
  static func servingStatus(_ message: ArraySlice<UInt8>) -> UInt64? {
    var rest = message
    var status: UInt64 = 0
    while !rest.isEmpty {
      guard let key = takeVarint(&rest), key >> 3 > 0, key >> 3 < 1 << 29 else { return nil }
      switch (key >> 3, key & 7) {
      case (1, 0):
        guard let value = takeVarint(&rest) else { return nil }
        status = value
      case (1, _): return nil
      case (_, 0): guard takeVarint(&rest) != nil else { return nil }
      case (_, 1): guard skip(8, &rest) else { return nil }
      case (_, 2): guard let count = takeVarint(&rest), skip(count, &rest) else { return nil }
      case (_, 5): guard skip(4, &rest) else { return nil }
      default: return nil
      }
    }
    return status
  }

  private static func takeVarint(_ octets: inout ArraySlice<UInt8>) -> UInt64? {
    var value: UInt64 = 0
    for shift in stride(from: UInt64(0), through: 63, by: 7) {
      guard let octet = octets.popFirst(), shift < 63 || octet <= 1 else { return nil }
      value |= UInt64(octet & 0x7F) << shift
      if octet < 0x80 { return value }
    }
    return nil
  }

  private static func skip(_ count: UInt64, _ octets: inout ArraySlice<UInt8>) -> Bool {
    guard count <= UInt64(octets.count) else { return false }
    octets.removeFirst(Int(count))
    return true
  }
}
