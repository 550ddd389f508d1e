import Primitives

/// IMF-fixdate (RFC 9110 §5.6.7), 29 octets.
public enum HTTPDate {
  private static let weekdays: [StaticString] = ["Thu", "Fri", "Sat", "Sun", "Mon", "Tue", "Wed"]
  private static let months: [StaticString] = [
    "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
  ]

  /// `seconds` since the Unix epoch, not negative.
  public static func append(_ seconds: Int64, to sink: inout ByteSink) {
    let days = Int(seconds / 86_400)
    let second = Int(seconds % 86_400)
    let date = civilDate(daysSinceEpoch: days)
    sink.append(weekdays[days % 7])
    sink.append(", ")
    sink.append(decimal: UInt(date.day), width: 2)
    sink.append(" ")
    sink.append(months[date.month - 1])
    sink.append(" ")
    sink.append(decimal: UInt(date.year), width: 4)
    sink.append(" ")
    sink.append(decimal: UInt(second / 3600), width: 2)
    sink.append(":")
    sink.append(decimal: UInt(second / 60 % 60), width: 2)
    sink.append(":")
    sink.append(decimal: UInt(second % 60), width: 2)
    sink.append(" GMT")
  }

  /// Gregorian date of a day count, by the era arithmetic of Hinnant's "chrono-Compatible
  /// Low-Level Date Algorithms" (2013).
  static func civilDate(daysSinceEpoch: Int) -> (year: Int, month: Int, day: Int) {
    let shifted = daysSinceEpoch + 719_468
    let era = shifted / 146_097
    let dayOfEra = shifted % 146_097
    let yearOfEra = (dayOfEra - dayOfEra / 1460 + dayOfEra / 36524 - dayOfEra / 146_096) / 365
    let dayOfYear = dayOfEra - (365 * yearOfEra + yearOfEra / 4 - yearOfEra / 100)
    let shiftedMonth = (5 * dayOfYear + 2) / 153
    let day = dayOfYear - (153 * shiftedMonth + 2) / 5 + 1
    let month = shiftedMonth < 10 ? shiftedMonth + 3 : shiftedMonth - 9
    return (yearOfEra + era * 400 + (month <= 2 ? 1 : 0), month, day)
  }
}
