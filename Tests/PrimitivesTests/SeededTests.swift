import Primitives
import Testing

@Suite struct `The seeded generator` {
  /// The sequence that other implementations of SplitMix64 give for this seed.
  @Test func `gives the published sequence`() {
    var random = SeededRandom(seed: 1_234_567)
    #expect(
      (0..<5).map { _ in random.next() } == [
        6_457_827_717_110_365_317, 3_203_168_211_198_807_973, 9_817_491_932_198_370_423,
        4_593_380_528_125_082_431, 16_408_922_859_458_223_821,
      ])
  }

  @Test func `stays below the bound and reaches every value`() {
    var random = SeededRandom(seed: 1)
    for bound in [1, 2, 3, 7, 100] {
      var seen = Set<Int>()
      for _ in 0..<bound * 50 {
        let value = random.below(bound)
        #expect(value >= 0 && value < bound)
        seen.insert(value)
      }
      #expect(seen.count == bound)
    }
    #expect(random.below(.max) >= 0)
  }
}

@Suite struct `The stable hash` {
  @Test(
    arguments: [
      ("", 0, 0xEF46_DB37_51D8_E999), ("a", 0, 0xD24E_C4F1_A98C_6E5B),
      ("abc", 0, 0x44BC_2CF5_AD77_0999), ("asdf", 0, 0x4158_72F5_99CE_A71E),
      ("xxhash", 0, 0x32DD_3895_2C4B_C720), ("xxhash", 20_141_025, 0xB559_B98D_844E_0635),
    ] as [(String, UInt64, UInt64)])
  func `gives the published values, for strings and for views`(
    text: String, seed: UInt64, hash: UInt64
  ) {
    #expect(StableHash.of(text, seed: seed) == hash)
    #expect(GuardedBytes(text).read { StableHash.of($0, seed: seed) } == hash)
  }
}
