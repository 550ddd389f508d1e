/// What names have brought in the life of a process, and so what they may still bring.
///
/// Each backend that has been used keeps its counters (some KiB) under the parts of its key
/// (`BackendOptions.key`) that come from DNS: a name server must not be able to invent them without
/// end, be it by addresses or by ports and hosts of a service.
struct NameAdmission {
  static let limit = 16_384

  private struct Met: Hashable {
    let query: NameQuery
    let address: ResolvedAddress
  }

  private let limit: Int
  private var met: Set<Met> = []

  init(limit: Int = NameAdmission.limit) { self.limit = limit }

  /// Those that have been met before, and as many others as there is room for.
  mutating func admit(_ found: [ResolvedAddress], of query: NameQuery) -> [ResolvedAddress] {
    found.filter { address in
      let key = Met(query: query, address: address.withoutPreference)
      if met.contains(key) { return true }
      guard met.count < limit else { return false }
      met.insert(key)
      return true
    }
  }
}

extension ResolvedAddress {
  /// Without what may change while the backend stays the same one.
  fileprivate var withoutPreference: ResolvedAddress {
    guard var service else { return self }
    service.weight = 1
    service.isBackup = false
    return ResolvedAddress(service)
  }
}
