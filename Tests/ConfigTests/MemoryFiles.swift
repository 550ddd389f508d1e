import Config
import Foundation
import Proxy
import TestSupport

/// Files that exist only in a test.
struct MemoryFiles: ConfigurationFiles {
  var contents: [String: [UInt8]]

  init(_ texts: [String: String]) { contents = texts.mapValues { Array($0.utf8) } }

  func read(_ path: String, limitBytes: Int) throws(FileFault) -> [UInt8] {
    guard let bytes = contents[path] else { throw FileFault("no such file or directory") }
    guard bytes.count <= limitBytes else { throw FileFault("larger than the limit") }
    return bytes
  }

  /// Only `*` once, in the last component.
  func paths(matching pattern: String) -> [String] {
    let parts = pattern.split(separator: "*", omittingEmptySubsequences: false)
    return contents.keys.filter { path in
      path.hasPrefix(parts[0]) && path.hasSuffix(parts[1])
        && !path.dropFirst(parts[0].count).contains("/")
    }.sorted(by: >)
  }
}

func load(
  _ text: String, environment: [String: String] = [:], others: [String: String] = [:]
) -> LoadResult {
  var texts = SampleCertificate.files.merging(others) { $1 }
  texts["proxy.conf"] = text
  return ConfigurationLoader.load(
    path: "proxy.conf", environment: environment, files: MemoryFiles(texts))
}

/// `w.pem` with `w.key`, `v.pem` with both, and their `ca.pem`, made once for all tests.
enum SampleCertificate {
  static let certificates = Result { try TestCertificates() }
  static let pair = Result { try certificates.get().issue(["www.example.com"]) }

  static let files: [String: String] = {
    guard let certificates = try? certificates.get(), let pair = try? pair.get(),
      let other = try? certificates.issue(["v.example.com"], key: .rsa)
    else { return [:] }
    return [
      "w.pem": text(pair.certificate), "w.key": text(pair.key),
      "v.pem": text(other.certificate) + text(other.key), "ca.pem": text(certificates.authority),
    ]
  }()

  static func text(_ path: String) -> String {
    (try? String(contentsOfFile: path, encoding: .utf8)) ?? ""
  }
}

/// The diagnostics as they are printed, one after the other.
func rendered(_ result: LoadResult) -> String {
  result.diagnostics.map { $0.rendered() + "\n" }.joined()
}

/// A directive in its block, in a file that is otherwise in order.
func fileWith(
  top: String = "", listener: String = "", listenerTLS: String? = nil, upstream: String = "",
  upstreamTLS: String? = nil, route: String = ""
) -> String {
  let listener =
    listener + (listenerTLS.map { "\ntls {\ncertificate w.pem key=w.key\n\($0)\n}" } ?? "")
  let upstream = upstream + (upstreamTLS.map { "\ntls {\n\($0)\n}" } ?? "")
  return """
    \(top)
    listener web {
    bind :8080
    \(listener)
    }
    upstream app {
    backend 10.0.0.1:80
    \(upstream)
    }
    route * {
    upstream app
    \(route)
    }

    """
}
