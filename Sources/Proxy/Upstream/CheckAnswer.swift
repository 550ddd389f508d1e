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

  struct Finding {
    var verdict: Verdict
    /// The answer is here to its last octet, nothing is behind it, and the backend leaves the
    /// connection open.
    var leavesConnection = false
  }

  /// Of content that is looked through for `contains`.
  static let maxContentBytes = 64 * 1024
  /// Of an answer in all: what is not decided by then is decided by what there is.
  static let maxBytes = maxContentBytes + 32 * 1024

  /// The request of a check; `closes`: the last one of its connection. `authority` is for `Host`
  /// where the check names none.
  static func request(_ check: HTTPCheck, authority: String, closes: Bool) -> [UInt8] {
    var text = "\(check.method) \(check.path) HTTP/1.1\r\nHost: \(check.host ?? authority)\r\n"
    let names = Set(check.fields.map { $0.name.lowercased() })
    if !names.contains("user-agent") { text += "User-Agent: weir-health-check\r\n" }
    for field in check.fields { text += "\(field.name): \(field.value)\r\n" }
    if closes { text += "Connection: close\r\n" }
    return Array("\(text)\r\n".utf8)
  }

  /// `hasEnded`: the backend has closed its direction.
  static func judge(
    _ octets: ByteView, hasEnded: Bool, _ check: HTTPCheck, _ head: inout ResponseHead
  ) -> Finding {
    do throws(HeadFault) {
      var start = 0
      repeat {
        let length = try HeadParser.parseResponse(
          octets.slice(from: start), into: &head, limits: HeadLimits(),
          isHead: check.method == "HEAD")
        guard length > 0 else {
          return Finding(verdict: hasEnded ? .failed(.closed) : .needsMore)
        }
        start += length
      } while head.status < 200
      let status = Int(head.status)
      guard check.expected.contains(where: { $0.contains(status) }) else {
        return Finding(verdict: .failed(.status(status)))
      }
      let rest = octets.slice(from: start)
      if let wanted = check.contains, !wanted.isEmpty {
        let verdict = try search(rest, head.framing, hasEnded, wanted)
        guard verdict == .passed else { return Finding(verdict: verdict) }
      }
      let isOpen = head.wantsKeepAlive && !hasEnded
      return Finding(verdict: .passed, leavesConnection: isOpen && isWhole(rest, head.framing))
    } catch { return Finding(verdict: .failed(.malformed)) }
  }

  private static func search(
    _ octets: ByteView, _ framing: BodyFraming, _ hasEnded: Bool, _ wanted: String
  ) throws(HeadFault) -> Verdict {
    let (content, isComplete) = try content(octets, framing, hasEnded)
    if content.contains(Array(wanted.utf8)) { return .passed }
    if isComplete || content.count >= maxContentBytes { return .failed(.contentMismatch) }
    return hasEnded ? .failed(.closed) : .needsMore
  }

  /// Whether these octets are the content from its first to its last one.
  private static func isWhole(_ octets: ByteView, _ framing: BodyFraming) -> Bool {
    switch framing {
    case .none: return octets.isEmpty
    case .length(let length): return octets.count == length
    case .untilClose: return false
    case .chunked:
      var decoder = ChunkedDecoder()
      var rest = octets
      while true {
        switch try? decoder.next(rest) {
        case .data(let skip, let count): rest = rest.slice(from: skip + count)
        case .trailers(let skip): return rest.slice(from: skip).equals("\r\n")
        case .needMore, nil: return false
        }
      }
    }
  }

  /// The content as far as it has come, and whether that is all.
  private static func content(
    _ octets: ByteView, _ framing: BodyFraming, _ hasEnded: Bool
  ) throws(HeadFault) -> (octets: [UInt8], isComplete: Bool) {
    switch framing {
    case .none: return ([], true)
    case .length(let length):
      return (octets.slice(0, min(length, octets.count)).array, octets.count >= length)
    case .untilClose: return (octets.array, hasEnded)
    case .chunked: return try decode(octets)
    }
  }

  private static func decode(
    _ octets: ByteView
  ) throws(HeadFault) -> (octets: [UInt8], isComplete: Bool) {
    var decoder = ChunkedDecoder()
    var content: [UInt8] = []
    var rest = octets
    while true {
      switch try decoder.next(rest) {
      case .data(let skip, let count):
        content += rest.slice(skip, skip + count).array
        rest = rest.slice(from: skip + count)
      case .needMore: return (content, false)
      case .trailers: return (content, true)
      }
    }
  }
}
