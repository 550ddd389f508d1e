import HTTP
import Primitives
import Resilience
import Transport

/// What a backend is told of the time that its answer has (`pass-deadline`, semantics.md 13).
extension Worker {
  /// A finished line near the end of the scratch; empty where there is no limit to tell. The
  /// request's head is the one in `requestHead`.
  func deadlineLine(_ exchange: UnsafeMutablePointer<Exchange>) -> ByteView {
    let route = route(exchange)
    var left = TimeAmount.max
    if exchange.pointee.totalDeadline != .never { left = exchange.pointee.totalDeadline - now }
    if let attempt = route.pointee.attemptTimeout {
      let used = (now - exchange.pointee.attemptAt).nanoseconds
      left = min(left, TimeAmount(nanoseconds: attempt.nanoseconds - used))
    }
    let isGRPC = requestHead.first(.contentType).map(Worker.isGRPC) ?? false
    if isGRPC, let asked = field("grpc-timeout").flatMap(GRPCTimeout.read) {
      let used = (now - exchange.pointee.startedAt).nanoseconds
      left = min(left, TimeAmount(nanoseconds: asked.nanoseconds - used))
    }
    guard left != .max else { return .empty }
    left = max(left, .zero)
    let room = 128
    var sink = ByteSink(base: scratch + Worker.scratchBytes - 2048, capacity: room)
    if isGRPC {
      sink.append("grpc-timeout: ")
      GRPCTimeout.append(left, to: &sink)
    } else {
      sink.append("weir-deadline-ms: ")
      sink.append(decimal: Int(left.milliseconds))
    }
    sink.append("\r\n")
    return sink.view
  }

  private func field(_ name: StaticString) -> ByteView? {
    let index = requestHead.fields.firstIndex(named: ByteView(name), in: requestHead.bytes)
    return index.map { requestHead.value($0) }
  }

  private static func isGRPC(_ type: ByteView) -> Bool {
    let prefix = "application/grpc" as StaticString
    return type.count >= prefix.utf8CodeUnitCount
      && type.slice(0, prefix.utf8CodeUnitCount).equalsLowercased(prefix)
  }
}
