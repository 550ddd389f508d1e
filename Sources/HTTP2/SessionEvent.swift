import Primitives

/// What one reception of octets came to, in order. A few words, so that a whole read is parsed
/// before anything is dispatched (safety rule 31).
public struct SessionEvent: BitwiseCopyable, Sendable {
  public enum Kind: UInt8, BitwiseCopyable, Sendable {
    /// A request's head: `range` of `Intake.heads`, in the form of HTTP/1.1.
    case opened
    /// A request whose head is over a limit: 431.
    case openedOverLimit
    /// Content: `range` of the octets that were received.
    case data
    /// A response's head, interim or final: `range` of `Intake.heads`, in the form of HTTP/1.1.
    case responded
    /// The trailers of a message, which end it: `range` of `Intake.heads`, in the form of HTTP/1.1.
    case trailers
    /// The peer has sent all of its message.
    case ended
    /// The stream is gone: reset by the peer, or by an error of its own, or ended on both sides.
    case reset
    /// A response breaks a rule or a limit; its stream has been reset.
    case malformed
    /// A backend has said for the first time what it supports.
    case settled
    /// A backend takes no new streams: those above `stream` were not looked at (RFC 9113 §6.8).
    case goingAway
    /// Cancelled within the same read: nothing to do.
    case void
  }

  public var kind: Kind
  public var stream: Int32
  public var range = ByteRange.empty
  /// Of `.opened` and `.responded`: the head is all there is.
  public var endsStream = false
  /// Of `.opened`: a tunnel is asked for (RFC 8441).
  public var isTunnel = false
  /// Whose stream it is, which itself may be forgotten by now; 0 for nobody's, or nobody's yet.
  public var owner: UInt64 = 0
  /// Of `.reset`: the error code, RFC 9113 §7, and whether it was weir that found the error.
  public var code: UInt32 = 0
  public var isOurs = false

  /// Of `.reset`: the backend has done nothing with the request (RFC 9113 §8.7).
  public var isRefused: Bool { !isOurs && code == ResetCode.refusedStream.rawValue }
}

/// What a worker's sessions write their events and heads into: one for all of them, because each
/// reception is dealt with before the next one begins.
public final class Intake {
  /// Heads of one reception; beyond it streams are refused.
  static let headBytes = 2 * 1024 * 1024

  public internal(set) var events: [SessionEvent] = []
  /// `headBytes` for heads, and room for the trailers of one response.
  let heads: UnsafeMutablePointer<UInt8>
  var used = 0
  let setup: SessionSetup
  let fields: FieldList

  public init() {
    // Untouched pages cost nothing.
    heads = .allocate(capacity: Intake.headBytes + Session.headRoom)
    events.reserveCapacity(256)
    setup = SessionSetup()
    fields = FieldList()
  }

  deinit { heads.deallocate() }

  /// What an `.opened`, `.responded` or `.trailers` event brought, valid until the next reception.
  public func head(_ event: SessionEvent) -> ByteView {
    ByteView(base: heads, count: used).slice(event.range)
  }

  /// Before something is received or sent.
  public func reset() {
    events.removeAll(keepingCapacity: true)
    used = 0
  }

  /// A stream that was opened and reset in the same read is never dispatched (safety rule 31). A
  /// thousand of them may stand in one read, so each event is looked at once.
  func cancelResetStreams() {
    guard events.contains(where: { $0.kind == .reset }),
      let first = events.first(where: { $0.kind == .opened || $0.kind == .openedOverLimit })
    else { return }
    // Numbers of streams only grow: what is not below the first was opened in this read, too.
    var reset: Set<Int32> = []
    for index in events.indices.reversed() where events[index].stream >= first.stream {
      if events[index].kind == .reset { reset.insert(events[index].stream) }
      if reset.contains(events[index].stream) { events[index].kind = .void }
    }
  }
}
