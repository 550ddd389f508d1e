import Glibc

/// A folder of the demo's own for the configuration and the admin socket; gone afterwards.
struct DemoFolder {
  let path: String

  /// `nil` where no folder for temporary files can be written to.
  init?() {
    let parent = ProcessEnvironment.variables["TMPDIR"] ?? "/tmp"
    var template = Array("\(parent)/weir-demo-XXXXXX".utf8CString)
    guard mkdtemp(&template) != nil else { return nil }
    path = String(decoding: template.dropLast().map { UInt8(bitPattern: $0) }, as: UTF8.self)
  }

  func write(_ text: String, to name: String) -> Bool {
    let file = open("\(path)/\(name)", O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0o644)
    guard file >= 0 else { return false }
    defer { close(file) }
    var text = text
    return text.withUTF8 { Glibc.write(file, $0.baseAddress, $0.count) == $0.count }
  }

  /// With whatever an editor left beside the configuration.
  func remove() {
    if let folder = opendir(path) {
      while let entry = readdir(folder) {
        let name = withUnsafeBytes(of: entry.pointee.d_name) {
          String(decoding: $0.prefix { $0 != 0 }, as: UTF8.self)
        }
        if name != ".", name != ".." { unlink("\(path)/\(name)") }
      }
      closedir(folder)
    }
    rmdir(path)
  }
}
