import Primitives
import Testing

@testable import Config

/// Every number of the table is taken at both ends of its range and refused beyond them. That the
/// ranges are the wanted ones is held by docs/configuration.md, which is compared elsewhere.
@Suite struct RangeTests {
  struct Edge: Sendable, CustomTestStringConvertible {
    var context: Context
    var line: String
    var isAllowed: Bool
    var testDescription: String { "\(context): \(line)" }
  }

  /// Words at the edges of a kind, and just beyond.
  static func words(_ kind: ValueKind) -> [(String, Bool)] {
    switch kind {
    case .integer(let range):
      return [
        ("\(range.lowerBound)", true), ("\(range.upperBound)", true),
        ("\(range.upperBound + 1)", false), ("\(range.lowerBound - 1)", false),
        ("99999999999999999999", false), ("1.5", false), ("", false),
      ]
    case .duration(let range):
      let (low, high) = (range.lowerBound.milliseconds, range.upperBound.milliseconds)
      return [
        ("\(low)ms", true), ("\(high)ms", true), ("\(high + 1)ms", false),
        (low > 0 ? "\(low - 1)ms" : "-1s", false), ("99999999999999999999d", false),
        ("10", false), ("10sec", false), ("s", false), ("1.5s", false),
      ]
    case .size(let range):
      let (low, high) = (range.lowerBound, range.upperBound)
      return [
        ("\(low)B", true), ("\(high)B", true), ("\(high + 1)B", false),
        ("\(low - 1)B", false), ("99999999999999999999TiB", false), ("10", false),
        ("10KB", false), ("KiB", false),
      ]
    case .number(let range):
      return [
        ("\(range.lowerBound)", true), ("\(range.upperBound)", true), ("1", false),
        ("\(range.upperBound)1", false), ("nan", false), ("1e0", false), ("inf", false),
      ]
    case .percentage(let range):
      return [
        ("\(range.lowerBound)%", true), ("\(range.upperBound)%", true),
        ("\(range.upperBound + 1)%", false), ("\(range.lowerBound - 1)%", false),
        ("99999999999999999999%", false), ("50", false), ("0.5%", false), ("%", false),
      ]
    case .either(_, let inner): return words(inner)
    default: return []
    }
  }

  static let edges: [Edge] = Context.allCases.flatMap { context in
    DirectiveTable.rows(context).flatMap { row in
      var edges: [Edge] = []
      for argument in row.arguments.prefix(1) {
        edges += words(argument.kind).map { word, isAllowed in
          Edge(context: context, line: "\(row.name) \"\(word)\"", isAllowed: isAllowed)
        }
      }
      for option in row.options {
        let start: String? =
          switch row.name {
          case "bind": "bind :81"
          case "backend": "backend 10.0.0.9:80"
          case "balance": "balance hash path"
          case "circuit-breaker" where option.key == "slow-rate":
            "circuit-breaker slow-call=1s"
          case "circuit-breaker": "circuit-breaker"
          case "health-check": "health-check GET /"
          case "retry": "retry"
          default: nil
          }
        guard let start else { continue }
        edges += words(option.kind).map { word, isAllowed in
          Edge(context: context, line: "\(start) \(option.key)=\(word)", isAllowed: isAllowed)
        }
      }
      return edges
    }
  }.filter { !$0.line.hasPrefix("respond") }

  @Test(arguments: edges) func `a range is taken to its ends and not beyond`(_ edge: Edge) {
    let text =
      switch edge.context {
      case .top: fileWith(top: edge.line)
      case .listener: fileWith(listener: edge.line)
      case .listenerTLS: fileWith(listenerTLS: edge.line)
      case .upstream: fileWith(upstream: edge.line)
      case .upstreamTLS: fileWith(upstreamTLS: edge.line)
      case .route: fileWith(route: edge.line)
      }
    let result = load(text)
    #expect((result.errorCount == 0) == edge.isAllowed, "\(rendered(result))")
    #expect(result.errorCount <= 1)
  }

  @Test(arguments: [
    (TimeAmount.zero, "0s"), (.milliseconds(250), "250ms"), (.seconds(90), "90s"),
    (.seconds(120), "2m"), (.seconds(86_400), "1d"), (.seconds(3600), "1h"),
  ])
  func `durations are written in the largest unit that fits`(_ amount: TimeAmount, text: String) {
    #expect(written(amount) == text)
  }

  @Test(arguments: [(0, "0B"), (512, "512B"), (1024, "1KiB"), (1536, "1536B"), (1 << 30, "1GiB")])
  func `sizes are written in the largest unit that fits`(_ bytes: Int, text: String) {
    #expect(written(bytes: bytes) == text)
  }
}
