import Foundation
import Primitives
import Synchronization
import Testing

@testable import Config

@Suite struct IncludeTests {
  @Test func `files are read in the order of their names, relative to the file that names them`() {
    let result = load(
      fileWith(top: "include conf.d/*.conf"),
      others: [
        "conf.d/b.conf": "route /b {\nrespond 200\n}\ninclude more/c.conf\n",
        "conf.d/a.conf": "route /a {\nrespond 200\n}\n",
        "conf.d/more/c.conf": "route /c {\nrespond 200\n}\n",
      ])
    #expect(rendered(result) == "")
    #expect(result.options?.routes.map(\.name) == ["/a", "/b", "/c", "*"])
    #expect(
      result.files == ["proxy.conf", "conf.d/a.conf", "conf.d/b.conf", "conf.d/more/c.conf"])
  }

  @Test func `a pattern may fit nothing`() {
    let result = load(fileWith(top: "include conf.d/*.conf"))
    #expect(rendered(result) == "")
  }

  @Test func `faults name the file they are in`() {
    let result = load(
      fileWith(top: "include a.conf\nname x"), others: ["a.conf": "name y\nworkers none\n"])
    #expect(
      rendered(result) == """
        proxy.conf:2:1: error: 'name' is given twice
            2 | name x
              | ^~~~
              = first on line 1 of a.conf
        a.conf:2:9: error: 'none' is not a whole number
            2 | workers none
              |         ^~~~
              = expected 1 to 256
              = or 'auto'

        """)
  }

  @Test func `a circle of files is refused and named`() {
    let result = load(
      fileWith(top: "include d/a.conf"),
      others: ["d/a.conf": "include b.conf\n", "d/b.conf": "include ../d/./a.conf\n"])
    #expect(result.diagnostics.map(\.message) == ["'d/../d/./a.conf' includes itself"])
    #expect(result.diagnostics.map(\.file) == ["d/b.conf"])
    #expect(result.diagnostics[0].notes == ["proxy.conf → d/a.conf → d/b.conf → d/a.conf"])
  }

  @Test func `files may not nest without end`() {
    var others: [String: String] = [:]
    for level in 0..<40 { others["\(level).conf"] = "include \(level + 1).conf\n" }
    let result = load(fileWith(top: "include 0.conf"), others: others)
    #expect(
      result.diagnostics.map(\.message) == ["files include each other more than 16 deep"])
  }

  @Test func `files that include others many times over come to an end`() {
    var others: [String: String] = [:]
    for level in 0..<14 {
      let line = "include \(level + 1).conf\n"
      others["\(level).conf"] = line + line
    }
    others["14.conf"] = "# empty\n"
    let result = load(fileWith(top: "include 0.conf"), others: others)
    #expect(result.diagnostics.contains { $0.message == "more than 1000 files" })
  }

  @Test func `a block does not reach beyond its file`() {
    let result = load(
      "include a.conf\n}\n" + fileWith(), others: ["a.conf": "listener b {\nbind :81\n"])
    let found = result.diagnostics.map { "\($0.file):\($0.line): \($0.message)" }
    #expect(
      found == [
        "proxy.conf:2: '}' closes no block", "a.conf:1: the block of 'listener' is not closed",
      ])
  }

  @Test func `disk files are read, limited and found by pattern`() throws {
    let folder = FileManager.default.temporaryDirectory
      .appendingPathComponent("weir-config-\(UUID().uuidString)")
    try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
    defer { try? FileManager.default.removeItem(at: folder) }
    let big = String(repeating: "#", count: 200_000)
    for (name, text) in ["b.conf": "b", "a.conf": "a", "c.txt": big] {
      try text.write(
        to: folder.appendingPathComponent(name), atomically: true, encoding: .utf8)
    }
    let files = DiskFiles()
    let root = folder.path
    #expect(files.paths(matching: root + "/*.conf") == ["\(root)/a.conf", "\(root)/b.conf"])
    #expect(files.paths(matching: root + "/*.none").isEmpty)
    #expect(try files.read(root + "/c.txt", limitBytes: 200_000).count == 200_000)
    #expect(throws: FileFault("larger than 1KiB")) {
      try files.read(root + "/c.txt", limitBytes: 1024)
    }
    #expect(throws: FileFault("no such file or directory")) {
      try files.read(root + "/none", limitBytes: 1024)
    }
    mkfifo(root + "/pipe", 0o600)
    let socket = Glibc.socket(AF_UNIX, Int32(SOCK_STREAM.rawValue), 0)
    defer { close(socket) }
    var address = sockaddr_un()
    address.sun_family = sa_family_t(AF_UNIX)
    withUnsafeMutableBytes(of: &address.sun_path) {
      $0.copyBytes(from: (root + "/socket").utf8.prefix(107))
    }
    withUnsafePointer(to: &address) {
      $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
        _ = bind(socket, $0, socklen_t(MemoryLayout<sockaddr_un>.size))
      }
    }
    // None of them may hold the caller up, or be read without end.
    for (path, kind) in [
      (root, "a directory"), (root + "/pipe", "a pipe"), (root + "/socket", "a socket"),
      ("/dev/zero", "a device"),
    ] {
      #expect(throws: FileFault("it is \(kind), not a regular file")) {
        try files.read(path, limitBytes: 1024)
      }
    }
    symlink("loop", root + "/loop")
    #expect(throws: FileFault("too many levels of symbolic links")) {
      try files.read(root + "/loop", limitBytes: 1024)
    }
  }

  /// Half a configuration may be a lawful one, with routes missing.
  @Test func `a file that is written to while it is read is not taken`() throws {
    let path = FileManager.default.temporaryDirectory
      .appendingPathComponent("weir-config-\(UUID().uuidString)").path
    defer { try? FileManager.default.removeItem(atPath: path) }
    try String(repeating: "#", count: 4 << 20).write(
      toFile: path, atomically: true, encoding: .utf8)
    let handle = try #require(FileHandle(forWritingAtPath: path))
    let isOver = Mutex(false)
    let writer = Thread {
      while !isOver.withLock({ $0 }) {
        handle.seekToEndOfFile()
        handle.write(Data([10]))
      }
    }
    writer.start()
    defer { isOver.withLock { $0 = true } }
    var fault: FileFault?
    // The writer may be late, but not for so many times.
    for _ in 0..<1000 where fault == nil {
      do throws(FileFault) {
        _ = try DiskFiles().read(path, limitBytes: 1 << 30)
      } catch { fault = error }
    }
    #expect(fault == FileFault("it was written to while it was read"))
  }

  @Test(arguments: [
    ("a.conf", "/etc/weir/proxy.conf", "/etc/weir/a.conf"), ("/a", "/etc/b", "/a"),
    ("a", "proxy.conf", "a"), ("../a", "x/proxy.conf", "x/../a"),
  ])
  func `paths are relative to the file they stand in`(path: String, file: String, result: String) {
    #expect(FilePath.resolve(path, against: file) == result)
  }

  @Test(arguments: [
    ("/a/../b", "/b"), ("a/./b//c", "a/b/c"), ("../a", "../a"), ("../../a/..", "../.."),
    ("/a/b/../../c", "/c"),
  ])
  func `one file has one name`(path: String, result: String) {
    #expect(FilePath.normalized(path) == result)
  }
}
