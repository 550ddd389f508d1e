/// Which certificate a client gets: by the name it asks for (RFC 6066 §3), and within the name by
/// the kind of key that it can verify, which OpenSSL decides.
///
/// A *set* is the credentials of one name: at most one for each kind of key. Names are compared
/// without case; `*.example.com` stands for one label (RFC 6125 §6.4.3). Pure: numbers in, numbers
/// out, so that it can be tested without a certificate.
public struct CertificateStore: Sendable {
  /// What there is to know of one credential.
  public struct Entry: Sendable {
    public var names: [String]
    public var kind: Credential.KeyKind

    public init(names: [String], kind: Credential.KeyKind) {
      self.names = names
      self.kind = kind
    }
  }

  /// Indices of credentials; the first set is the default.
  public private(set) var sets: [[Int]] = []
  private var exact: [[UInt8]: Int] = [:]
  /// By what follows `*.`.
  private var wildcards: [[UInt8]: Int] = [:]

  /// `entries` in the order of the file: where two of a kind have the same name, the first one
  /// serves it.
  public init(_ entries: [Entry]) {
    var members: [String: [Int]] = [:]
    for (index, entry) in entries.enumerated() {
      for name in Set(entry.names) {
        let isTaken = members[name, default: []].contains { entries[$0].kind == entry.kind }
        if !isTaken { members[name, default: []].append(index) }
      }
    }
    let preferred = entries.first?.names.first.flatMap { members[$0] } ?? [0]
    sets = [preferred.contains(0) ? preferred : [0]]
    for (name, set) in members {
      let number: Int
      if let known = sets.firstIndex(of: set) {
        number = known
      } else {
        number = sets.count
        sets.append(set)
      }
      if name.hasPrefix("*.") {
        wildcards[Array(name.utf8.dropFirst(2))] = number
      } else {
        exact[Array(name.utf8)] = number
      }
    }
  }

  /// Credentials that no name leads to, because earlier ones serve all of theirs.
  public func hidden(of count: Int) -> [Int] {
    let used = Set(sets.flatMap { $0 })
    return (0..<count).filter { !used.contains($0) }
  }

  /// The set for a name as the client sent it; the default where none fits.
  public func set(for name: some Sequence<UInt8>) -> Int {
    var wanted = name.map { $0 >= 0x41 && $0 <= 0x5A ? $0 | 0x20 : $0 }
    // RFC 6066 forbids the trailing dot, and clients send it.
    if wanted.last == UInt8(ascii: ".") { wanted.removeLast() }
    if let number = exact[wanted] { return number }
    guard !wildcards.isEmpty, let dot = wanted.firstIndex(of: UInt8(ascii: ".")), dot > 0 else {
      return 0
    }
    return wildcards[Array(wanted[(dot + 1)...])] ?? 0
  }
}
