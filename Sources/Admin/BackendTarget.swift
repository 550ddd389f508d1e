import HTTP
import Primitives
import Proxy

/// `/v1/upstreams/U/backends/B`, names percent-encoded where they must be.
struct BackendTarget: Equatable {
  var upstream: String
  var backend: String

  /// `nil` where the path is another.
  init?(path: String) {
    let parts = path.split(separator: "/", omittingEmptySubsequences: false)
    guard parts.count == 6, parts[0].isEmpty, parts[1] == "v1", parts[2] == "upstreams",
      parts[4] == "backends", !parts[3].isEmpty, !parts[5].isEmpty
    else { return nil }
    upstream = BackendTarget.decoded(parts[3])
    backend = BackendTarget.decoded(parts[5])
  }

  private static func decoded(_ part: Substring) -> String {
    var octets: [UInt8] = []
    var rest = Array(part.utf8)[...]
    while let octet = rest.popFirst() {
      if octet == UInt8(ascii: "%"), rest.count >= 2,
        let value = UInt8(String(decoding: rest.prefix(2), as: UTF8.self), radix: 16)
      {
        octets.append(value)
        rest.removeFirst(2)
      } else {
        octets.append(octet)
      }
    }
    return String(decoding: octets, as: UTF8.self)
  }

  func answer(_ request: AdminRequest) -> AdminAnswer {
    guard request.method == .patch else {
      var response = AdminResponse.problem(405, "a backend can be asked with PATCH")
      response.fields.append(.init(name: "Allow", value: "PATCH"))
      return .response(response)
    }
    guard let wanted = AdminJSON.decode(BackendPatch.self, request.content) else {
      return .response(.problem(400, "expected a JSON object such as {\"state\":\"drain\"}"))
    }
    guard let mode = BackendMode(rawValue: wanted.state) else {
      let known = BackendMode.allCases.map { "'\($0.rawValue)'" }.joined(separator: ", ")
      return .response(.problem(422, "'\(wanted.state)' is no state: expected one of \(known)"))
    }
    return .setMode(BackendModeChange(upstream: upstream, backend: backend, mode: mode))
  }
}

/// Content of the request.
public struct BackendPatch: Codable, Sendable {
  public var state: String

  public init(state: String) { self.state = state }
}

/// The answer: what is in force now.
public struct BackendModeDocument: Codable, Sendable {
  public var upstream: String
  public var backend: String
  public var state: String

  init(_ change: BackendModeChange) {
    upstream = change.upstream
    backend = change.backend
    state = change.mode.rawValue
  }
}
