import Glibc

/// Where configuration files come from; tests answer from memory.
public protocol ConfigurationFiles: Sendable {
  /// The whole content of a file of at most `limitBytes`.
  func read(_ path: String, limitBytes: Int) throws(FileFault) -> [UInt8]
  /// Existing paths that fit a shell pattern, sorted.
  func paths(matching pattern: String) -> [String]
}

/// Why a file could not be read, as an operator would say it.
public struct FileFault: Error, Sendable, Equatable {
  public var reason: String
  public init(_ reason: String) { self.reason = reason }
}

/// The files of this machine.
public struct DiskFiles: ConfigurationFiles {
  public init() {}

  /// Reads regular files only: a pipe or a device may never end, and a reload would not find in it
  /// again what was there.
  public func read(_ path: String, limitBytes: Int) throws(FileFault) -> [UInt8] {
    // A pipe that nobody writes to would hold the caller in `open`.
    let descriptor = unsafe open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK)
    guard descriptor >= 0 else { throw DiskFiles.openFault(path) }
    defer { close(descriptor) }
    let before = try DiskFiles.status(descriptor)
    if let fault = DiskFiles.fault(of: before) { throw fault }
    var bytes: [UInt8] = []
    var block = [UInt8](repeating: 0, count: 64 * 1024)
    while true {
      let count = unsafe Glibc.read(descriptor, &block, block.count)
      if count < 0, errno == EINTR { continue }
      guard count >= 0 else { throw DiskFiles.fault() }
      if count == 0 { break }
      bytes += block[..<count]
      if bytes.count > limitBytes { throw FileFault("larger than \(written(bytes: limitBytes))") }
    }
    let after = try DiskFiles.status(descriptor)
    guard before.st_size == after.st_size, before.st_mtim.tv_sec == after.st_mtim.tv_sec,
      before.st_mtim.tv_nsec == after.st_mtim.tv_nsec
    else { throw FileFault("it was written to while it was read") }
    return bytes
  }

  private static func status(_ descriptor: Int32) throws(FileFault) -> stat {
    var status = stat()
    guard unsafe fstat(descriptor, &status) == 0 else { throw fault() }
    return status
  }

  /// A socket cannot even be opened, and the kernel's words for that are about devices.
  private static func openFault(_ path: String) -> FileFault {
    let code = errno
    var status = stat()
    if code == ENXIO, unsafe stat(path, &status) == 0, let fault = fault(of: status) {
      return fault
    }
    errno = code
    return fault()
  }

  /// `nil`: of a regular file.
  private static func fault(of status: stat) -> FileFault? {
    let kind =
      switch status.st_mode & S_IFMT {
      case S_IFREG: ""
      case S_IFDIR: "a directory"
      case S_IFIFO: "a pipe"
      case S_IFSOCK: "a socket"
      default: "a device"
      }
    return kind.isEmpty ? nil : FileFault("it is \(kind), not a regular file")
  }

  public func paths(matching pattern: String) -> [String] {
    var found = unsafe glob_t()
    defer { unsafe globfree(&found) }
    guard unsafe glob(pattern, 0, nil, &found) == 0 else { return [] }
    return (0..<Int(unsafe found.gl_pathc)).compactMap { index in
      unsafe found.gl_pathv[index].map { unsafe String(cString: $0) }
    }
  }

  private static func fault() -> FileFault {
    let code = errno
    guard let text = unsafe strerror(code) else { return FileFault("error \(code)") }
    return FileFault(unsafe String(cString: text).lowercased())
  }
}

/// Paths in a file are relative to the folder that file is in.
enum FilePath {
  static func resolve(_ path: String, against file: String) -> String {
    if path.hasPrefix("/") { return path }
    guard let slash = file.lastIndex(of: "/") else { return path }
    return String(file[...slash]) + path
  }

  /// Without `.`, `..` and doubled slashes, as far as the text alone tells: one file has one name
  /// when cycles are looked for.
  static func normalized(_ path: String) -> String {
    var parts: [Substring] = []
    for part in path.split(separator: "/") where part != "." {
      if part == "..", let last = parts.last, last != ".." {
        parts.removeLast()
      } else {
        parts.append(part)
      }
    }
    return (path.hasPrefix("/") ? "/" : "") + parts.joined(separator: "/")
  }
}
