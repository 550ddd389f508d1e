import HTTP
import Primitives

/// Which stored responses the answer to an unsafe request makes void (RFC 9111 §4.4).
public enum Invalidation {
  /// The MUST of §4.4 is about the target URI, its MAY about the two fields of the response.
  public enum Target: UInt8, Sendable, BitwiseCopyable, CaseIterable {
    case uri, location, contentLocation
  }

  /// Methods that are unsafe, or whose safety is not known, with an answer that is no error.
  public static func isDue(_ method: Method, status: Int) -> Bool {
    !method.isSafe && (200..<400).contains(status)
  }

  /// Appends the URL part of the key that `target` names; `nil` where there is none: the field is
  /// absent, malformed, of another origin, or does not fit the sink.
  ///
  /// Only the same origin can make its own resources void, so that no host can empty another's.
  public static func append(
    _ target: Target, _ request: borrowing RequestHead, isSecure: Bool,
    _ response: borrowing ResponseHead, rule: borrowing CompiledCacheRule,
    to sink: inout ByteSink
  ) -> CacheKey.Layout? {
    switch target {
    case .uri:
      guard
        var layout = CacheKey.append(request, isSecure: isSecure, rule: rule, to: &sink)
      else { return nil }
      sink.truncate(to: sink.count - layout.length + layout.urlEnd)
      layout.length = layout.urlEnd
      return layout
    case .location:
      return append(response.first(.location), request, isSecure, rule, to: &sink)
    case .contentLocation:
      return append(response.first(.contentLocation), request, isSecure, rule, to: &sink)
    }
  }

  private static func append(
    _ reference: ByteView?, _ request: borrowing RequestHead, _ isSecure: Bool,
    _ rule: borrowing CompiledCacheRule, to sink: inout ByteSink
  ) -> CacheKey.Layout? {
    guard let reference, !request.host.isEmpty else { return nil }
    var room = [UInt8](
      repeating: 0, count: request.path.count + request.host.count + reference.count + 32)
    var origin = 0
    let written = room.withByteSink { scratch -> Int in
      CacheKey.appendOrigin(
        host: request.host, port: CacheKey.port(request.authority, request.host),
        isSecure: isSecure, to: &scratch)
      origin = scratch.count
      resolve(reference, request, isSecure, to: &scratch)
      return scratch.overflowed ? 0 : scratch.count
    }
    guard written > 0 else { return nil }
    let url = FixedOctets(room[..<written])
    // An absolute reference replaced the origin, which stays in front for comparing.
    let isAbsolute = CacheKey.schemeLength(url.view.slice(from: origin)) > 0
    let start = sink.count
    do throws(CacheURLFault) {
      let layout = try CacheKey.append(
        url: isAbsolute ? url.view.slice(from: origin) : url.view, rule: rule, to: &sink)
      let found = sink.view.slice(start, start + layout.targetStart)
      if found.equals(url.view.slice(0, origin)) { return layout }
      sink.truncate(to: start)
      return nil
    } catch { return nil }
  }

  /// RFC 3986 §5.2 without fragments: appends an absolute URL, or a path with a query to stand
  /// behind the request's origin.
  private static func resolve(
    _ received: ByteView, _ request: borrowing RequestHead, _ isSecure: Bool,
    to sink: inout ByteSink
  ) {
    let hash = received.firstIndex(of: UInt8(ascii: "#")) ?? received.count
    let reference = received.slice(0, hash)
    if CacheKey.schemeLength(reference) > 0 { return sink.append(reference) }
    if reference.hasPrefix("//") {
      if isSecure { sink.append("https:") } else { sink.append("http:") }
      return sink.append(reference)
    }
    let question = reference.firstIndex(of: UInt8(ascii: "?")) ?? reference.count
    let path = reference.slice(0, question)
    let floor = sink.count
    if path.isEmpty {
      sink.append(request.path)
      if question == reference.count { sink.append(request.queryWithMark) }
    } else {
      if path[0] != UInt8(ascii: "/") {
        // A colon before the first slash makes it a URL of another kind: a path that no request
        // has, so it names nothing.
        let slash = path.firstIndex(of: UInt8(ascii: "/")) ?? path.count
        if path.slice(0, slash).firstIndex(of: UInt8(ascii: ":")) != nil {
          return sink.append(byte: 0)
        }
        // A request's own path has no dot segments.
        sink.append(request.directory)
      }
      appendSegments(path, floor: floor, to: &sink)
    }
    sink.append(reference.slice(from: question))
  }

  /// RFC 3986 §5.2.4, segment by segment; nothing before `floor` is taken back.
  private static func appendSegments(_ path: ByteView, floor: Int, to sink: inout ByteSink) {
    var index = path.count > 0 && path[0] == UInt8(ascii: "/") ? 1 : 0
    while true {
      let end = path.firstIndex(of: UInt8(ascii: "/"), from: index) ?? path.count
      let segment = path.slice(index, end)
      let isLast = end == path.count
      if segment.equals("..") { dropSegment(floor, &sink) }
      if segment.equals(".") || segment.equals("..") {
        if isLast { sink.append(byte: UInt8(ascii: "/")) }
      } else {
        sink.append(byte: UInt8(ascii: "/"))
        sink.append(segment)
      }
      if isLast { return }
      index = end + 1
    }
  }

  private static func dropSegment(_ floor: Int, _ sink: inout ByteSink) {
    var end = sink.count
    while end > floor, sink.view[end - 1] != UInt8(ascii: "/") { end -= 1 }
    sink.truncate(to: max(end - 1, floor))
  }
}

extension RequestHead {
  /// The path up to its last slash, without it.
  fileprivate var directory: ByteView {
    let path = path
    var end = path.count
    while end > 0, path[end - 1] != UInt8(ascii: "/") { end -= 1 }
    return path.slice(0, max(end - 1, 0))
  }

  fileprivate var queryWithMark: ByteView {
    bytes.slice(Int(pathRange.end), Int(pathAndQueryRange.end))
  }
}
