/// What a configuration asks of a balancer, checked and with its hash ring built.
///
/// Building a ring of a million points takes tens of milliseconds; a plan is made on the control
/// thread before the lock that the workers share is taken, and `Balancer.update` installs it in
/// O(backends).
public struct BalancerPlan: Sendable {
  /// Of primaries and backups together; a 16-bit slot is enough for every table beside this one.
  public static let backendLimit = 65_535

  let policy: BalancePolicy
  let backends: [BackendSpec]
  /// Of primaries, and of backups; `nil` unless the policy hashes.
  let primaryRing: HashRing?
  let backupRing: HashRing?

  /// Names must be unique and weights 0–256: the configuration check sees to it.
  public init(policy: BalancePolicy, backends: [BackendSpec]) {
    precondition(backends.count <= BalancerPlan.backendLimit, "too many backends")
    precondition(backends.allSatisfy { (0...256).contains($0.weight) }, "a weight is 0 to 256")
    precondition(Set(backends.map(\.name)).count == backends.count, "a name is used twice")
    self.policy = policy
    self.backends = backends
    if case .hash(let options) = policy {
      let points = options.pointsPerWeight
      primaryRing = HashRing(
        backends: backends, members: backends.indices.filter { !backends[$0].isBackup },
        pointsPerWeight: points)
      backupRing = HashRing(
        backends: backends, members: backends.indices.filter { backends[$0].isBackup },
        pointsPerWeight: points)
    } else {
      primaryRing = nil
      backupRing = nil
    }
  }
}
