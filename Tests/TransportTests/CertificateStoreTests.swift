import Testing
import Transport

@Suite struct `A certificate store` {
  private typealias Entry = CertificateStore.Entry

  private func chosen(_ entries: [(names: [String], kind: Credential.KeyKind)], _ name: String)
    -> [Int]
  {
    let store = CertificateStore(entries.map { Entry(names: $0.names, kind: $0.kind) })
    return store.sets[store.set(for: name.utf8)]
  }

  private let site: [(names: [String], kind: Credential.KeyKind)] = [
    (["www.example.com", "example.com"], .rsa),
    (["www.example.com"], .ecdsa),
    (["*.example.com"], .ecdsa),
    (["api.example.com"], .rsa),
    (["*.deep.example.com"], .rsa),
  ]

  @Test(
    arguments: [
      ("www.example.com", [0, 1]), ("WWW.Example.COM", [0, 1]), ("www.example.com.", [0, 1]),
      ("example.com", [0]), ("api.example.com", [3]), ("other.example.com", [2]),
      ("a.deep.example.com", [4]), ("deep.example.com", [2]),
      // RFC 6125 §6.4.3: one label, and not the name itself.
      ("a.b.example.com", [0, 1]), ("a.b.deep.example.com", [0, 1]), (".example.com", [0, 1]),
      ("*.example.com", [2]), ("unknown.org", [0, 1]), ("", [0, 1]), (".", [0, 1]),
      ("com", [0, 1]), ("xn--www.example.com", [2]),
    ] as [(String, [Int])])
  func `finds the exact name, then one wildcard label, then the default`(
    name: String, expected: [Int]
  ) {
    #expect(chosen(site, name) == expected)
  }

  @Test func `serves the first of a kind where two have the same name`() {
    let entries: [(names: [String], kind: Credential.KeyKind)] = [
      (["a"], .rsa), (["a", "b"], .rsa), (["a"], .rsa), (["a"], .ecdsa),
    ]
    #expect(chosen(entries, "a") == [0, 3])
    #expect(chosen(entries, "b") == [1])
    let store = CertificateStore(entries.map { Entry(names: $0.names, kind: $0.kind) })
    #expect(store.hidden(of: entries.count) == [2])
  }

  @Test func `has a default even where its first certificate has no name`() {
    #expect(chosen([([], .ecdsa), (["a"], .rsa)], "b") == [0])
    #expect(chosen([([], .ecdsa), (["a"], .rsa)], "a") == [1])
  }

  @Test func `makes one set of names that share their certificates`() {
    let names = (0..<1000).map { "host\($0).example.com" }
    let store = CertificateStore([
      Entry(names: names, kind: .rsa), Entry(names: names, kind: .ecdsa),
    ])
    #expect(store.sets == [[0, 1]])
  }
}
