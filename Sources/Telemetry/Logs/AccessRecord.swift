import Primitives

/// What the access log says of one exchange. The views need to live only while the line is made.
public struct AccessRecord {
  /// When the request's head was complete: seconds since the Unix epoch, and 0–999 within.
  public var unixSeconds: Int64 = 0
  public var milliseconds = 0
  public var clientAddress = IPAddress(v4: 0)
  public var clientPort: UInt16 = 0
  public var method: ByteView = .empty
  public var target: ByteView = .empty
  public var host: ByteView = .empty
  /// `HTTP/1.1`
  public var version: ByteView = .empty
  /// 0 where no answer was begun.
  public var status = 0
  /// Content octets, framing not included.
  public var requestOctets = 0
  public var responseOctets = 0
  /// Microseconds; -1 where it did not come to that: no connection was opened (a pooled one was
  /// used, or weir answered itself), no response head came.
  public var connectMicroseconds = -1
  public var firstByteMicroseconds = -1
  public var totalMicroseconds = 0
  public var attempts = 0
  /// Empty where none was chosen.
  public var upstream: ByteView = .empty
  public var backend: ByteView = .empty
  public var route: ByteView = .empty
  public var endReason: StaticString = "completed"
  public var requestID: ByteView = .empty
  public var referer: ByteView = .empty
  public var userAgent: ByteView = .empty
  public var traceparent: ByteView = .empty

  public init() {}

  /// Octets of all views together.
  var textCount: Int {
    method.count + target.count + host.count + version.count + upstream.count + backend.count
      + route.count + requestID.count + referer.count + userAgent.count + traceparent.count
  }

  static var viewCount: Int { 11 }

  /// Cuts every view to `limit` octets.
  mutating func cutViews(to limit: Int) {
    func cut(_ view: ByteView) -> ByteView { view.slice(0, min(view.count, limit)) }
    method = cut(method)
    target = cut(target)
    host = cut(host)
    version = cut(version)
    upstream = cut(upstream)
    backend = cut(backend)
    route = cut(route)
    requestID = cut(requestID)
    referer = cut(referer)
    userAgent = cut(userAgent)
    traceparent = cut(traceparent)
  }
}
