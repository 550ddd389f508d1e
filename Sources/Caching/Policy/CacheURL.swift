import HTTP
import Primitives

/// Why the URL of a purge names no resource of a cache.
public enum CacheURLFault: Error, Sendable, Equatable {
  /// Neither `http://` nor `https://`.
  case scheme
  /// Empty, malformed, or with user information or a bad port.
  case host
  /// An octet that no request target has, or a fragment.
  case target
  /// More than the sink takes.
  case tooLong
}

extension CacheKey {
  /// Appends the URL part of the key that a request for `url` has under a rule that keeps the
  /// whole query: `http(s)://host[:port][/path][?query]`. On an error nothing stays appended.
  public static func append(
    url: ByteView, to sink: inout ByteSink
  ) throws(CacheURLFault) -> Layout {
    let start = sink.count
    do throws(CacheURLFault) {
      let targetStart = try appendOrigin(of: url, to: &sink)
      sink.append(try targetOfURL(url, needsSlash: &sink))
      guard !sink.overflowed else { throw .tooLong }
      let end = sink.count - start
      return Layout(targetStart: targetStart - start, urlEnd: end, length: end)
    } catch {
      sink.truncate(to: start)
      throw error
    }
  }

  /// The same under this rule: parameters of the query that it leaves out are left out.
  public static func append(
    url: ByteView, rule: borrowing CompiledCacheRule, to sink: inout ByteSink
  ) throws(CacheURLFault) -> Layout {
    let start = sink.count
    do throws(CacheURLFault) {
      let targetStart = try appendOrigin(of: url, to: &sink)
      let target = try targetOfURL(url, needsSlash: &sink)
      let question = target.firstIndex(of: UInt8(ascii: "?"))
      sink.append(target.slice(0, question ?? target.count))
      rule.appendQuery(
        question.map { target.slice(from: $0 + 1) } ?? .empty, hasQuery: question != nil,
        to: &sink)
      guard !sink.overflowed else { throw .tooLong }
      let end = sink.count - start
      return Layout(targetStart: targetStart - start, urlEnd: end, length: end)
    } catch {
      sink.truncate(to: start)
      throw error
    }
  }

  /// Octets of the scheme with `://`; 0 where it is neither http nor https.
  static func schemeLength(_ url: ByteView) -> Int {
    if url.count > 7, url.slice(0, 7).equalsLowercased("http://") { return 7 }
    if url.count > 8, url.slice(0, 8).equalsLowercased("https://") { return 8 }
    return 0
  }

  private static func endOfAuthority(_ url: ByteView, from start: Int) -> Int {
    var end = start
    while end < url.count, url[end] != UInt8(ascii: "/"), url[end] != UInt8(ascii: "?"),
      url[end] != UInt8(ascii: "#")
    { end += 1 }
    return end
  }

  /// Returns `count` of the sink behind the origin.
  private static func appendOrigin(
    of url: ByteView, to sink: inout ByteSink
  ) throws(CacheURLFault) -> Int {
    let scheme = schemeLength(url)
    guard scheme > 0 else { throw .scheme }
    let received = url.slice(scheme, endOfAuthority(url, from: scheme))
    // Made lower case where it stands, so a copy is needed; it is written over by what it means.
    let start = sink.count
    sink.append(received)
    guard !sink.overflowed else { throw .tooLong }
    let authority = sink.view.slice(from: start)
    let host: ByteView
    do throws(HeadFault) {
      host = authority.slice(try Authority.normalize(authority))
    } catch {
      throw .host
    }
    let port = port(authority, host)
    let name = host.array
    sink.truncate(to: start)
    name.withByteView { appendOrigin(host: $0, port: port, isSecure: scheme == 8, to: &sink) }
    return sink.count
  }

  /// Path and query; a slash is appended where they have none.
  private static func targetOfURL(
    _ url: ByteView, needsSlash sink: inout ByteSink
  ) throws(CacheURLFault) -> ByteView {
    let target = url.slice(from: endOfAuthority(url, from: schemeLength(url)))
    guard target.endOfTarget(from: 0) == target.count,
      target.firstIndex(of: UInt8(ascii: "#")) == nil
    else { throw .target }
    if target.isEmpty || target[0] != UInt8(ascii: "/") { sink.append(byte: UInt8(ascii: "/")) }
    return target
  }
}
