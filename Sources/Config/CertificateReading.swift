import Primitives
import Proxy
import Transport

/// Reads the certificate files of a running configuration again: after a renewal, without the
/// configuration itself being read.
public enum CertificateReading {
  /// Every certificate, key and list of authorities is read anew, or none is: what is wrong with
  /// them is returned, and then nothing has changed. Blocks on file input.
  public static func reread(
    _ options: inout ProxyOptions, files: some ConfigurationFiles
  ) -> [String] {
    var faults: [String] = []
    var changed = options
    for index in changed.listeners.indices {
      guard !changed.listeners[index].isRemoved, var tls = changed.listeners[index].tls else {
        continue
      }
      tls.credentials = tls.credentials.compactMap { reread($0, files, &faults) }
      tls.clientAuthorities = tls.clientAuthorities.flatMap { reread($0, files, &faults) }
      changed.listeners[index].tls = tls
    }
    for index in changed.upstreams.indices {
      guard var tls = changed.upstreams[index].tls else { continue }
      tls.credential = tls.credential.flatMap { reread($0, files, &faults) }
      tls.authorities = tls.authorities.flatMap { reread($0, files, &faults) }
      changed.upstreams[index].tls = tls
    }
    if faults.isEmpty { options = changed }
    return faults
  }

  private static func reread(
    _ known: Credential, _ files: some ConfigurationFiles, _ faults: inout [String]
  ) -> Credential? {
    do {
      let read = try Credential(
        files: known.files, certificatePEM: content(known.files.certificate, files),
        keyPEM: content(known.files.key, files),
        chainPEM: known.files.chain.map { try content($0, files) })
      try read.check()
      return read
    } catch {
      note(error, &faults)
      return nil
    }
  }

  private static func reread(
    _ known: Authorities, _ files: some ConfigurationFiles, _ faults: inout [String]
  ) -> Authorities? {
    do {
      return try Authorities(path: known.path, pem: content(known.path, files))
    } catch {
      note(error, &faults)
      return nil
    }
  }

  private static func content(
    _ path: String, _ files: some ConfigurationFiles
  ) throws -> [UInt8] {
    do {
      return try files.read(path, limitBytes: ConfigurationLoader.certificateLimitBytes)
    } catch {
      throw TLSFault("'\(path)' cannot be read: \(error.reason)")
    }
  }

  private static func note(_ error: any Error, _ faults: inout [String]) {
    let text = (error as? TLSFault)?.message ?? "\(error)"
    // One file may serve several listeners.
    if !faults.contains("error: \(text)") { faults.append("error: \(text)") }
  }
}
