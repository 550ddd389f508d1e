/// A page in Prometheus' text format (version 0.0.4). Control plane: it allocates.
public struct PrometheusText {
  /// For the `Content-Type` of an answer that carries the page.
  public static let contentType = "text/plain; version=0.0.4; charset=utf-8"

  public private(set) var text = ""
  private var seen: Set<String> = []

  public init() {}

  /// One value. HELP and TYPE precede the first sample of a family; the caller keeps the samples
  /// of a family together, as the format demands.
  ///
  /// `values` are those of `metric.labels`, in their order.
  public mutating func sample(
    _ metric: MetricDescription, values: [String] = [], _ value: UInt64
  ) {
    begin(metric)
    text += metric.name
    appendLabels(PrometheusText.labels(metric, values))
    text += " \(value)\n"
  }

  /// A gauge or other value that is not whole or may be negative.
  public mutating func sample(
    _ metric: MetricDescription, values: [String] = [], real value: Double
  ) {
    begin(metric)
    text += metric.name
    appendLabels(PrometheusText.labels(metric, values))
    text += " \(value)\n"
  }

  /// A classic histogram in seconds.
  public mutating func histogram(
    _ metric: MetricDescription, values: [String], _ snapshot: HistogramSnapshot
  ) {
    begin(metric)
    let labels = PrometheusText.labels(metric, values)
    for (bound, count) in zip(HistogramSnapshot.bounds, snapshot.countsBelowBounds()) {
      text += "\(metric.name)_bucket"
      appendLabels(labels + [("le", PrometheusText.seconds(bound))])
      text += " \(count)\n"
    }
    text += "\(metric.name)_bucket"
    appendLabels(labels + [("le", "+Inf")])
    text += " \(snapshot.count)\n\(metric.name)_sum"
    appendLabels(labels)
    text += " \(PrometheusText.seconds(snapshot.sumMicroseconds))\n\(metric.name)_count"
    appendLabels(labels)
    text += " \(snapshot.count)\n"
  }

  private static func labels(
    _ metric: MetricDescription, _ values: [String]
  ) -> [(name: String, value: String)] {
    precondition(metric.labels.count == values.count, "a value for each label of \(metric.name)")
    let fixed = metric.fixedLabel.map { [$0] } ?? []
    return zip(metric.labels, values).map { (name: $0, value: $1) } + fixed
  }

  private mutating func begin(_ metric: MetricDescription) {
    guard seen.insert(metric.name).inserted else { return }
    text += "# HELP \(metric.name) "
    appendEscaped(metric.help, quotes: false)
    text += "\n# TYPE \(metric.name) \(metric.kind.rawValue)\n"
  }

  private mutating func appendLabels(_ labels: [(name: String, value: String)]) {
    guard !labels.isEmpty else { return }
    var separator = "{"
    for label in labels {
      text += "\(separator)\(label.name)=\""
      appendEscaped(label.value, quotes: true)
      text += "\""
      separator = ","
    }
    text += "}"
  }

  private mutating func appendEscaped(_ value: String, quotes: Bool) {
    // Nearly always there is nothing to escape, and a page may have a hundred thousand labels.
    guard value.utf8.contains(where: { $0 == 0x5C || $0 == 0x0A || $0 == 0x22 }) else {
      text += value
      return
    }
    for scalar in value.unicodeScalars {
      switch scalar {
      case "\\": text += "\\\\"
      case "\n": text += "\\n"
      case "\"" where quotes: text += "\\\""
      default: text.unicodeScalars.append(scalar)
      }
    }
  }

  /// Exactly, without the rounding of a floating-point number.
  static func seconds(_ microseconds: UInt64) -> String {
    let fraction = String(microseconds % 1_000_000)
    let padded = String(repeating: "0", count: 6 - fraction.utf8.count) + fraction
    var digits = padded[...]
    while digits.last == "0" { digits = digits.dropLast() }
    return digits.isEmpty
      ? "\(microseconds / 1_000_000)" : "\(microseconds / 1_000_000).\(digits)"
  }
}
