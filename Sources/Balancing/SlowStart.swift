import Glibc
import Primitives

/// `slow-start DURATION [floor=P] [aggression=F]`: how a backend that has come comes up to its
/// share of the requests.
public struct SlowStartOptions: Sendable, Equatable, BitwiseCopyable {
  /// From its coming until its whole weight counts.
  public var window: TimeAmount
  /// Per cent of its weight that counts from the first moment, 1–100.
  public var floor = 10
  /// 1: linear; above, more of it early.
  public var aggression = 1.0

  public init(window: TimeAmount) { self.window = window }
}

/// The share of a weight that counts: weight · max(floor, (age / window)^(1 / aggression)), as
/// Envoy computes it.
public enum SlowStart {
  /// Shares are in 1/128.
  public static let whole = Int(BackendSlot.wholeShare)

  /// Where more than half of those that serve are new, holding them back would only load the
  /// others more: then nobody is.
  public static func isOfUse(new: Int, of serving: Int) -> Bool { new > 0 && 2 * new <= serving }

  /// 1 to `whole`.
  public static func share(_ age: TimeAmount, _ options: SlowStartOptions) -> Int {
    let part = Double(max(0, age.nanoseconds)) / Double(max(1, options.window.nanoseconds))
    guard part < 1 else { return whole }
    let grown = pow(part, 1 / options.aggression)
    let counted = max(Double(options.floor) / 100, grown)
    return min(whole, max(1, Int((counted * Double(whole)).rounded())))
  }

  /// How often a share is worth computing anew.
  public static func step(_ options: SlowStartOptions) -> TimeAmount {
    TimeAmount(nanoseconds: max(1_000_000, options.window.nanoseconds / 64))
  }
}
