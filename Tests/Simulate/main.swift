import Glibc
import TestSimulation

// `simulate FIRST COUNT`: that many seeds, one after the other; `simulate trace SEED`: what happens
// in one. Exits with 1 at the first seed that breaks a rule, which it prints.

private let words = CommandLine.arguments.dropFirst()

if words.first == "trace", let seed = words.dropFirst().first.flatMap({ UInt64($0) }) {
  CrashNote.seed(seed)
  let outcome = Simulation.run(seed: seed, keepsTrace: true)
  for line in outcome.lines { print(line) }
  for violation in outcome.violations { print("VIOLATION: \(violation)") }
  print("seed \(seed): digest \(String(outcome.digest, radix: 16))")
  exit(outcome.violations.isEmpty ? 0 : 1)
}

let first = words.first.flatMap { UInt64($0) } ?? 1
let count = words.dropFirst().first.flatMap { UInt64($0) } ?? 1000
var counts = Counts()
var digest: UInt64 = 0
for seed in first..<(first + count) {
  CrashNote.seed(seed)
  let outcome = Simulation.run(seed: seed)
  counts.add(outcome.counts)
  digest = (digest &* 0x9E37_79B9_7F4A_7C15) ^ outcome.digest
  guard outcome.violations.isEmpty else {
    for violation in outcome.violations { print("seed \(seed): \(violation)") }
    print("after \(seed - first) good seeds; again, with what happened: simulate trace \(seed)")
    exit(1)
  }
}
print("\(count) seeds from \(first): every rule held; digest \(String(digest, radix: 16))")
for line in counts.lines { print(line) }
