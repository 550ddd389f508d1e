import TestSimulation
import Testing

/// The workers that ship, under a clock and a network of the test's own. `make simulate` runs more.
@Suite(.serialized) struct `Simulated seeds` {
  @Test func `fixed seeds keep every rule`() {
    for seed in UInt64(1)...100 {
      let outcome = Simulation.run(seed: seed)
      #expect(outcome.violations == [], "seed \(seed)")
    }
  }

  @Test func `a seed is one run: the same again to the last octet`() {
    for seed in UInt64(1)...20 {
      let first = Simulation.run(seed: seed)
      let second = Simulation.run(seed: seed)
      #expect(first.digest == second.digest, "seed \(seed)")
    }
  }
}
