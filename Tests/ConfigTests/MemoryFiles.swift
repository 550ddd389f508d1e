import Config
import Proxy

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
  var texts = others
  texts["proxy.conf"] = text
  return ConfigurationLoader.load(
    path: "proxy.conf", environment: environment, files: MemoryFiles(texts))
}

/// The diagnostics as they are printed, one after the other.
func rendered(_ result: LoadResult) -> String {
  result.diagnostics.map { $0.rendered() + "\n" }.joined()
}

/// A directive in its block, in a file that is otherwise in order.
func fileWith(
  top: String = "", listener: String = "", upstream: String = "", route: String = ""
) -> String {
  """
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
