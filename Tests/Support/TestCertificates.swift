import Foundation

/// An authority of a test's own and the certificates it signs, made with the `openssl` command in
/// a directory that goes away with it.
public final class TestCertificates: Sendable {
  public enum Key: String, Sendable { case ecdsa, rsa }

  /// Where a certificate and its key are.
  public struct Pair: Sendable {
    public var certificate: String
    public var key: String

    public init(certificate: String, key: String) {
      self.certificate = certificate
      self.key = key
    }

    /// `certificate FILE key=FILE`
    public var directive: String { "certificate \(certificate) key=\(key)" }
  }

  public let directory: String
  /// PEM file of the authority's own certificate.
  public var authority: String { "\(directory)/ca.pem" }
  private let numbers = Monitor(0)
  /// Certificates issued so far: the serial number of the last one.
  public var issued: Int { numbers.current }

  public init() throws {
    directory = try TemporaryDirectory.make()
    try run(
      ["req", "-x509"] + TestCertificates.newKey(.ecdsa)
        + [
          "-keyout", "\(directory)/ca.key", "-out", authority, "-days", "30", "-subj",
          "/CN=authority of a test",
        ])
  }

  deinit { try? FileManager.default.removeItem(atPath: directory) }

  /// A certificate for DNS names (or `IP:…` as OpenSSL writes it), valid for `days` from now;
  /// negative: it has expired.
  public func issue(
    _ names: [String], key: Key = .ecdsa, days: Int = 20, subject: String? = nil
  ) throws -> Pair {
    let number = numbers.update {
      $0 += 1
      return $0
    }
    let stem = "\(directory)/\(number)"
    let pair = Pair(certificate: "\(stem).pem", key: "\(stem).key")
    let list = names.map { $0.hasPrefix("IP:") ? $0 : "DNS:\($0)" }.joined(separator: ",")
    try "subjectAltName=\(list)\n".write(
      toFile: "\(stem).ext", atomically: true, encoding: .utf8)
    try run(
      ["req"] + TestCertificates.newKey(key)
        + [
          "-keyout", pair.key, "-out", "\(stem).csr", "-subj", subject ?? "/CN=\(names[0])",
        ])
    try run([
      "x509", "-req", "-in", "\(stem).csr", "-CA", authority, "-CAkey", "\(directory)/ca.key",
      "-set_serial", "\(number)", "-days", "\(days)", "-extfile", "\(stem).ext", "-out",
      pair.certificate,
    ])
    return pair
  }

  /// The same key behind a password.
  public func encrypt(_ pair: Pair) throws -> Pair {
    let path = pair.key + ".encrypted"
    try run(["pkey", "-in", pair.key, "-aes256", "-passout", "pass:secret", "-out", path])
    return Pair(certificate: pair.certificate, key: path)
  }

  /// Puts one pair where another is, file by file, as a renewal does.
  public func replace(_ old: Pair, with new: Pair) throws {
    for (source, target) in [(new.certificate, old.certificate), (new.key, old.key)] {
      try FileManager.default.copyItem(atPath: source, toPath: target + ".new")
      guard rename(target + ".new", target) == 0 else { throw WireError.system("rename", errno) }
    }
  }

  private static func newKey(_ key: Key) -> [String] {
    switch key {
    case .ecdsa:
      ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]
    case .rsa: ["-newkey", "rsa:2048", "-nodes"]
    }
  }

  private func run(_ arguments: [String]) throws {
    let (ending, output) = try ChildProcess.run("openssl", arguments)
    guard ending == .exit(0) else { throw TestFailure("openssl \(arguments): \(output)") }
  }
}
