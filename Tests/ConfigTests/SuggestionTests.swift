import Testing

@testable import Config

@Suite struct SuggestionTests {
  static let words = [
    "round-robin", "least-connections", "two-choices", "hash", "bind", "backlog", "workers",
  ]

  @Test(arguments: [
    ("least_con", "least-connections"), ("least", "least-connections"), ("wrokers", "workers"),
    ("Worker", "workers"), ("bnd", "bind"), ("roundrobin", "round-robin"), ("hsah", "hash"),
    ("leastconn", nil), ("le", nil), ("elephants", nil), ("x", nil), ("", nil),
  ])
  func `the closest word is found, and none where none is close`(typed: String, word: String?) {
    #expect(Suggestion.closest(to: typed, among: Self.words) == word)
  }

  @Test(arguments: [
    ("", "", 0), ("", "abc", 3), ("abc", "", 3), ("abc", "abc", 0), ("abc", "acb", 1),
    ("abc", "abd", 1), ("abc", "abcd", 1), ("abcd", "acbd", 1), ("ca", "abc", 3),
    ("kitten", "sitting", 3),
  ])
  func `the distance counts edits and swaps`(a: String, b: String, distance: Int) {
    #expect(Suggestion.distance(Array(a.utf8), Array(b.utf8)) == distance)
    #expect(Suggestion.distance(Array(b.utf8), Array(a.utf8)) == distance)
  }
}
