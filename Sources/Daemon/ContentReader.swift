import HTTP
import HTTP1
import Primitives

/// Reads a request's content to its end and drops it, unless told to keep it: for servers that
/// mostly need to know where the next request begins, the admin endpoint and the sample backends of
/// the demo.
public struct ContentReader {
  private enum State {
    case length(Int)
    case chunks(ChunkedDecoder)
    case trailers
  }

  private var state: State
  private let limits: HeadLimits
  private let maxBytes: Int
  private let keeps: Bool
  /// The content so far, where it is kept.
  public private(set) var kept: [UInt8] = []
  /// Octets of content so far.
  public private(set) var total = 0

  /// `limits` are for trailers, `maxBytes` for the content: 413.
  public init(
    _ framing: BodyFraming, limits: HeadLimits, maxBytes: Int, keeps: Bool = false
  ) {
    self.keeps = keeps
    self.limits = limits
    self.maxBytes = maxBytes
    state =
      switch framing {
      case .length(let length): .length(length)
      case .chunked: .chunks(ChunkedDecoder())
      // A request that names no length has no content (RFC 9112 §6.3).
      case .none, .untilClose: .length(0)
      }
  }

  /// Takes the content off the front of `input`. True where it has ended; throws the status to
  /// answer before closing.
  public mutating func consume(_ input: inout [UInt8]) throws(HeadFault) -> Bool {
    while true {
      switch state {
      case .length(let remaining):
        guard remaining <= maxBytes - total else { throw ContentReader.overLimit }
        let count = min(remaining, input.count)
        if keeps { kept += input.prefix(count) }
        input.removeFirst(count)
        total += count
        state = .length(remaining - count)
        return remaining == count
      case .chunks(var decoder):
        let step = try input.withByteView { (view) throws(HeadFault) in try decoder.next(view) }
        state = .chunks(decoder)
        switch step {
        case .data(let skip, let count):
          if keeps { kept += input[skip..<skip + count] }
          input.removeFirst(skip + count)
          total += count
          guard total <= maxBytes else { throw ContentReader.overLimit }
        case .needMore(let skip):
          input.removeFirst(skip)
          return false
        case .trailers(let skip):
          input.removeFirst(skip)
          state = .trailers
        }
      case .trailers:
        var fields = Fields()
        let length = try input.withByteView { (view) throws(HeadFault) in
          try HeadParser.parseTrailers(view, into: &fields, limits: limits)
        }
        input.removeFirst(length)
        return length > 0
      }
    }
  }

  private static let overLimit = HeadFault(413, "content over the limit")
}
