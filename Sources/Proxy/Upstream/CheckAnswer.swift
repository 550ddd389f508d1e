import HTTP
import HTTP1
import Primitives
import Resilience

/// Reads what a backend answers to a health check: a function of the octets so far.
enum CheckAnswer {
  enum Verdict: Equatable {
    case needsMore, passed
    case failed(CheckFailure)
  }

  /// Of content that is looked through for `contains`.
  static let maxContentBytes = 64 * 1024
  /// Of an answer in all: what is not decided by then is decided by what there is.
  static let maxBytes = maxContentBytes + 32 * 1024

  /// The request of a check, which is the connection's only one. `authority` is for `Host` where
  /// the check names none.
  static func request(_ check: HTTPCheck, authority: String) -> [UInt8] {
    var text = "\(check.method) \(check.path) HTTP/1.1\r\nHost: \(check.host ?? authority)\r\n"
    let names = Set(check.fields.map { $0.name.lowercased() })
    if !names.contains("user-agent") { text += "User-Agent: weir-health-check\r\n" }
    for field in check.fields { text += "\(field.name): \(field.value)\r\n" }
    return Array("\(text)Connection: close\r\n\r\n".utf8)
  }

  /// `hasEnded`: the backend has closed its direction.
  static func judge(
    _ octets: [UInt8], hasEnded: Bool, _ check: HTTPCheck, _ head: inout ResponseHead
  ) -> Verdict {
    var start = 0
    do throws(HeadFault) {
      while true {
        let length = try octets.withByteView { (view) throws(HeadFault) in
          try HeadParser.parseResponse(
            view.slice(from: start), into: &head, limits: HeadLimits(),
            isHead: check.method == "HEAD")
        }
        guard length > 0 else { return hasEnded ? .failed(.closed) : .needsMore }
        start += length
        if head.status >= 200 { break }
      }
      let status = Int(head.status)
      guard check.expected.contains(where: { $0.contains(status) }) else {
        return .failed(.status(status))
      }
      guard let wanted = check.contains, !wanted.isEmpty else { return .passed }
      let (content, isComplete) = try content(Array(octets[start...]), head.framing, hasEnded)
      if content.contains(Array(wanted.utf8)) { return .passed }
      if isComplete || content.count >= maxContentBytes { return .failed(.contentMismatch) }
      return hasEnded ? .failed(.closed) : .needsMore
    } catch { return .failed(.malformed) }
  }

  /// The content as far as it has come, and whether that is all.
  private static func content(
    _ octets: [UInt8], _ framing: BodyFraming, _ hasEnded: Bool
  ) throws(HeadFault) -> (octets: [UInt8], isComplete: Bool) {
    switch framing {
    case .none: return ([], true)
    case .length(let length): return (Array(octets.prefix(length)), octets.count >= length)
    case .untilClose: return (octets, hasEnded)
    case .chunked: return try decode(octets)
    }
  }

  private static func decode(
    _ octets: [UInt8]
  ) throws(HeadFault) -> (octets: [UInt8], isComplete: Bool) {
    var decoder = ChunkedDecoder()
    var content: [UInt8] = []
    var rest = octets
    while true {
      switch try rest.withByteView({ (view) throws(HeadFault) in try decoder.next(view) }) {
      case .data(let skip, let count):
        content += rest[skip..<skip + count]
        rest.removeFirst(skip + count)
      case .needMore: return (content, false)
      case .trailers: return (content, true)
      }
    }
  }
}
