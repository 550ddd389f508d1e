import Primitives

extension HTTPDate {
  /// Seconds since the Unix epoch of an HTTP-date in any of its three forms (RFC 9110 §5.6.7);
  /// `nil` for anything else. The name of the day is not compared with the date, as §5.6.7 asks
  /// nobody to.
  ///
  /// `now`, in the same seconds, decides the century of a year of two digits: what seems more than
  /// 50 years ahead is in the past.
  public static func parse(_ text: ByteView, now: Int64) -> Int64? {
    guard let comma = text.firstIndex(of: UInt8(ascii: ",")) else { return parseAsctime(text) }
    var reader = DateReader(text, from: comma + 1)
    guard reader.take(" ") else { return nil }
    if comma == 3 {
      guard isDayName(text.slice(0, 3)) else { return nil }
      return parseFixed(&reader)
    }
    guard isLongDayName(text.slice(0, comma)) else { return nil }
    return parseRFC850(&reader, now: now)
  }

  /// `Sun, 06 Nov 1994 08:49:37 GMT`, from the day on.
  private static func parseFixed(_ reader: inout DateReader) -> Int64? {
    guard let day = reader.digits(2), reader.take(" "), let month = reader.month(),
      reader.take(" "), let year = reader.digits(4), reader.take(" "), let second = reader.time(),
      reader.take(" GMT"), reader.isAtEnd
    else { return nil }
    return seconds(year: year, month: month, day: day, second: second)
  }

  /// `Sunday, 06-Nov-94 08:49:37 GMT`, from the day on.
  private static func parseRFC850(_ reader: inout DateReader, now: Int64) -> Int64? {
    guard let day = reader.digits(2), reader.take("-"), let month = reader.month(),
      reader.take("-"), let short = reader.digits(2), reader.take(" "),
      let second = reader.time(), reader.take(" GMT"), reader.isAtEnd
    else { return nil }
    let thisYear = civilDate(daysSinceEpoch: Int(max(now, 0) / 86_400)).year
    var year = thisYear / 100 * 100 + short
    if year > thisYear + 50 { year -= 100 }
    return seconds(year: year, month: month, day: day, second: second)
  }

  /// `Sun Nov  6 08:49:37 1994`.
  private static func parseAsctime(_ text: ByteView) -> Int64? {
    guard text.count == 24, isDayName(text.slice(0, 3)) else { return nil }
    var reader = DateReader(text, from: 3)
    guard reader.take(" "), let month = reader.month(), reader.take(" ") else { return nil }
    let isShort = reader.take(" ")
    guard let day = reader.digits(isShort ? 1 : 2), reader.take(" "), let second = reader.time(),
      reader.take(" "), let year = reader.digits(4), reader.isAtEnd
    else { return nil }
    return seconds(year: year, month: month, day: day, second: second)
  }

  private static func isDayName(_ text: ByteView) -> Bool {
    let names: StaticString = "SunMonTueWedThuFriSat"
    for day in 0..<7 where ByteView(names).slice(day * 3, day * 3 + 3).equals(text) { return true }
    return false
  }

  private static func isLongDayName(_ text: ByteView) -> Bool {
    text.equals("Sunday") || text.equals("Monday") || text.equals("Tuesday")
      || text.equals("Wednesday") || text.equals("Thursday") || text.equals("Friday")
      || text.equals("Saturday")
  }

  /// `nil` for a day that the month does not have. By the inverse of `civilDate`.
  private static func seconds(year: Int, month: Int, day: Int, second: Int) -> Int64? {
    let isLeap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0)
    let length: Int
    switch month {
    case 2: length = isLeap ? 29 : 28
    case 4, 6, 9, 11: length = 30
    default: length = 31
    }
    guard (1...length).contains(day) else { return nil }
    let shiftedYear = month <= 2 ? year - 1 : year
    let era = (shiftedYear >= 0 ? shiftedYear : shiftedYear - 399) / 400
    let yearOfEra = shiftedYear - era * 400
    let dayOfYear = (153 * (month > 2 ? month - 3 : month + 9) + 2) / 5 + day - 1
    let dayOfEra = yearOfEra * 365 + yearOfEra / 4 - yearOfEra / 100 + dayOfYear
    return Int64(era * 146_097 + dayOfEra - 719_468) * 86_400 + Int64(second)
  }
}

/// Takes the parts of a date from the front.
private struct DateReader {
  private let text: ByteView
  private var index: Int

  init(_ text: ByteView, from start: Int) {
    self.text = text
    index = start
  }

  var isAtEnd: Bool { index == text.count }

  mutating func take(_ literal: StaticString) -> Bool {
    guard text.slice(from: index).hasPrefix(literal) else { return false }
    index += literal.utf8CodeUnitCount
    return true
  }

  /// Exactly `count` digits.
  mutating func digits(_ count: Int) -> Int? {
    guard index + count <= text.count else { return nil }
    let value = text.slice(index, index + count).decimal
    index += count
    return value
  }

  /// 1–12; case matters (RFC 9110 §5.6.7).
  mutating func month() -> Int? {
    guard index + 3 <= text.count else { return nil }
    let name = text.slice(index, index + 3)
    let names: StaticString = "JanFebMarAprMayJunJulAugSepOctNovDec"
    index += 3
    for month in 0..<12 where ByteView(names).slice(month * 3, month * 3 + 3).equals(name) {
      return month + 1
    }
    return nil
  }

  /// `08:49:37` as a second of the day; 60 is the leap second's.
  mutating func time() -> Int? {
    guard let hour = digits(2), hour < 24, take(":"), let minute = digits(2), minute < 60,
      take(":"), let second = digits(2), second <= 60
    else { return nil }
    return hour * 3600 + minute * 60 + second
  }
}
