import Primitives

/// The value of `grpc-timeout`: up to eight digits and a unit (gRPC over HTTP/2, "Timeout").
public enum GRPCTimeout {
  private static let limit = 99_999_999

  /// `nil` where the value has another form.
  public static func read(_ text: ByteView) -> TimeAmount? {
    guard (2...9).contains(text.count), let value = text.slice(0, text.count - 1).decimal else {
      return nil
    }
    let unit: Int64
    switch text[text.count - 1] {
    case UInt8(ascii: "n"): unit = 1
    case UInt8(ascii: "u"): unit = 1000
    case UInt8(ascii: "m"): unit = 1_000_000
    case UInt8(ascii: "S"): unit = 1_000_000_000
    case UInt8(ascii: "M"): unit = 60_000_000_000
    case UInt8(ascii: "H"): unit = 3_600_000_000_000
    default: return nil
    }
    let (amount, overflow) = Int64(value).multipliedReportingOverflow(by: unit)
    return overflow ? .max : TimeAmount(nanoseconds: amount)
  }

  /// In milliseconds, rounded down; in seconds where those have more than eight digits.
  public static func append(_ amount: TimeAmount, to sink: inout ByteSink) {
    let milliseconds = max(0, Int(amount.milliseconds))
    if milliseconds <= limit {
      sink.append(decimal: milliseconds)
      sink.append("m")
    } else {
      sink.append(decimal: min(limit, milliseconds / 1000))
      sink.append("S")
    }
  }
}
