import Config

/// The configuration and its key, which exist only in the run.
struct RunFiles: ConfigurationFiles {
  var configuration: String

  func read(_ path: String, limitBytes: Int) throws(FileFault) -> [UInt8] {
    Array((path.hasSuffix("key") ? "0123456789abcdef0123" : configuration).utf8)
  }

  func paths(matching pattern: String) -> [String] { [] }
}
