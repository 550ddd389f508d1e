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
  public var version: StaticString = ""
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
  /// What `preparedDestination` made of the upstream and the backend.
  public var destination = AccessRecord.noDestination
  /// What `preparedText` made of the route; empty where none was chosen.
  public var route: ByteView = .empty
  /// A word; empty where the route has no cache.
  public var cacheResult: StaticString = ""
  public var endReason: StaticString = "completed"
  /// What `preparedHit` made, in place of the five before it; empty: they say it.
  public var prepared: ByteView = .empty
  /// What the request was given by somebody else, or the number that weir gave it, if not (0, 0).
  public var requestID: ByteView = .empty
  public var requestNumber: (UInt64, UInt64) = (0, 0)
  public var referer: ByteView = .empty
  public var userAgent: ByteView = .empty
  public var traceparent: ByteView = .empty

  @inline(__always)
  public init() {}

  /// Octets of all texts that may need escapes or were prepared.
  @inline(__always)
  var textCount: Int {
    method.count &+ target.count &+ host.count &+ destination.count &+ route.count
      &+ prepared.count &+ requestID.count &+ referer.count &+ userAgent.count &+ traceparent.count
  }

  static var viewCount: Int { 7 }

  /// Longest part of a configured name that a line shows, in octets before escaping.
  private static var longestName: Int { 512 }

  /// `"upstream":"","backend":""`, where none was chosen.
  public static var noDestination: ByteView { ByteView("\"upstream\":\"\",\"backend\":\"\"") }

  /// The upstream and the backend as a line's fields: made when the configuration is compiled, so
  /// that no request has to escape them again.
  public static func preparedDestination(upstream: String, backend: String) -> [UInt8] {
    Array("\"upstream\":\"".utf8) + preparedText(upstream) + Array("\",\"backend\":\"".utf8)
      + preparedText(backend) + [UInt8(ascii: "\"")]
  }

  /// From `attempts` to `end` in the line of a plain cache hit; `route` was made by `preparedText`.
  public static func preparedHit(route: [UInt8]) -> [UInt8] {
    Array(",\"attempts\":0,".utf8) + noDestination.array + Array(",\"route\":\"".utf8) + route
      + Array("\",\"cache\":\"hit\",\"end\":\"completed".utf8)
  }

  /// A configured name as it stands between the quotes of a JSON string.
  public static func preparedText(_ name: String) -> [UInt8] {
    var escaped: [UInt8] = []
    for octet in String(decoding: name.utf8.prefix(longestName), as: UTF8.self).utf8 {
      switch octet {
      case UInt8(ascii: "\""), UInt8(ascii: "\\"): escaped += [UInt8(ascii: "\\"), octet]
      case 0..<0x20:
        let digits = String(octet, radix: 16)
        escaped += Array("\\u00\(octet < 16 ? "0" : "")\(digits)".utf8)
      default: escaped.append(octet)
      }
    }
    return escaped
  }

  /// Cuts every view to `limit` octets.
  mutating func cutViews(to limit: Int) {
    func cut(_ view: ByteView) -> ByteView { view.slice(0, min(view.count, limit)) }
    method = cut(method)
    target = cut(target)
    host = cut(host)
    requestID = cut(requestID)
    referer = cut(referer)
    userAgent = cut(userAgent)
    traceparent = cut(traceparent)
  }
}
