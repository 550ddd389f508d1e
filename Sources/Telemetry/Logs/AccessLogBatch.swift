import Primitives

/// The access log lines of one worker since it last passed them on: records turned into JSON, or
/// into Apache's combined format, in the buffer they are submitted from.
///
/// A line is made as if its texts needed no escapes, and where one of them did (a test over all
/// of them, at the end) it is made again with care.
public struct AccessLogBatch: ~Copyable {
  /// Octets after which a worker should pass the lines on without waiting for the end of its
  /// turn; more than that fits.
  public static var eagerBytes: Int { 32 * 1024 }
  /// Octets of a line without its texts: names, punctuation, and numbers at their longest.
  private static var fixedBytes: Int { 1024 }
  /// What escaping makes of one octet at most (`\u00XX`).
  private static var escapeFactor: Int { 6 }

  public let format: AccessLogOptions.Format
  private var line = LineBuffer()
  private var clock: LogClock

  public init(_ format: AccessLogOptions.Format) {
    self.format = format
    clock = LogClock(format)
  }

  public var isEmpty: Bool { line.count == 0 }
  public var count: Int { line.count }
  /// Whole lines, each with its line feed; valid until the next change.
  public var lines: ByteView { line.view }

  /// After the lines were submitted.
  public mutating func removeAll() { line.removeAll() }

  /// Appends the record's line, whole or not at all. False where there is no room for it: the
  /// caller submits the lines, empties the batch and tries again, which then succeeds. The record
  /// is lent, not copied; texts that are too long for a line are cut in it.
  public mutating func append(_ record: inout AccessRecord) -> Bool {
    let bound = record.textCount &* AccessLogBatch.escapeFactor &+ AccessLogBatch.fixedBytes
    if bound <= LineBuffer.capacity - line.count {
      clock.advance(to: record.unixSeconds)
      write(&record, bound: bound)
      return true
    }
    return appendLong(&record)
  }

  @inline(never)
  private mutating func appendLong(_ record: inout AccessRecord) -> Bool {
    guard line.count == 0 else { return false }
    // A head limit far above the default lets in texts that are too long for a line.
    let prepared = record.destination.count + record.route.count + record.prepared.count
    let room =
      (LineBuffer.capacity - AccessLogBatch.fixedBytes - prepared) / AccessLogBatch.escapeFactor
    record.cutViews(to: room / AccessRecord.viewCount)
    clock.advance(to: record.unixSeconds)
    write(&record, bound: LineBuffer.capacity)
    return true
  }

  @inline(__always)
  private mutating func write(_ record: inout AccessRecord, bound: Int) {
    let start = line.count
    var text = PlainText()
    switch format {
    case .json:
      let clock = clock
      line.write(within: bound) { AccessLogBatch.writeJSON(&record, clock, &text, to: &$0) }
      if text.isSuspect { writeCarefully(&record, from: start, bound: bound) }
    case .combined:
      let clock = clock
      line.write(within: bound) { AccessLogBatch.writeCombined(&record, clock, &text, to: &$0) }
      // DEL is harmless in JSON, and not looked for in each text.
      if text.isSuspect || line.view.firstIndex(of: 0x7F, from: start) != nil {
        writeCarefully(&record, from: start, bound: bound)
      }
    }
  }

  @inline(never)
  private mutating func writeCarefully(_ record: inout AccessRecord, from start: Int, bound: Int) {
    line.truncate(to: start)
    let clock = clock
    switch format {
    case .json:
      var text = JSONText()
      line.write(within: bound) { AccessLogBatch.writeJSON(&record, clock, &text, to: &$0) }
    case .combined:
      var text = CombinedText()
      line.write(within: bound) { AccessLogBatch.writeCombined(&record, clock, &text, to: &$0) }
    }
  }

  @inline(__always)
  private static func writeJSON(
    _ record: inout AccessRecord, _ clock: LogClock, _ text: inout some LogText,
    to line: inout ByteWriter
  ) {
    line.append("{\"time\":\"")
    line.append(clock.text, length: clock.length)
    line.append(byte: UInt8(ascii: "."))
    line.append(thousandths: record.milliseconds)
    line.append("Z\",\"client\":\"")
    line.append(record.clientAddress)
    line.append("\",\"client_port\":")
    line.append(decimal: Int(record.clientPort))
    line.append(",\"method\":\"")
    text.append(record.method, to: &line)
    line.append("\",\"target\":\"")
    text.append(record.target, to: &line)
    line.append("\",\"host\":\"")
    text.append(record.host, to: &line)
    line.append("\",\"version\":\"")
    line.append(ByteView(record.version))
    line.append("\",\"status\":")
    line.append(decimal: record.status)
    line.append(",\"request_bytes\":")
    line.append(decimal: record.requestOctets)
    line.append(",\"response_bytes\":")
    line.append(decimal: record.responseOctets)
    line.append(",\"connect_us\":")
    append(optional: record.connectMicroseconds, to: &line)
    line.append(",\"first_byte_us\":")
    append(optional: record.firstByteMicroseconds, to: &line)
    line.append(",\"total_us\":")
    line.append(decimal: record.totalMicroseconds)
    if record.prepared.isEmpty {
      writeOutcome(record, to: &line)
    } else {
      line.append(record.prepared)
    }
    line.append("\",\"request_id\":\"")
    if record.requestNumber != (0, 0) {
      line.append(hex16: record.requestNumber.0)
      line.append(hex16: record.requestNumber.1)
    } else {
      text.append(record.requestID, to: &line)
    }
    line.append("\",\"referer\":\"")
    text.append(record.referer, to: &line)
    line.append("\",\"user_agent\":\"")
    text.append(record.userAgent, to: &line)
    line.append("\",\"traceparent\":\"")
    text.append(record.traceparent, to: &line)
    line.append("\"}\n")
  }

  /// How the request was answered, by whom, and how it ended.
  @inline(__always)
  private static func writeOutcome(_ record: borrowing AccessRecord, to line: inout ByteWriter) {
    line.append(",\"attempts\":")
    line.append(decimal: record.attempts)
    line.append(byte: UInt8(ascii: ","))
    line.append(record.destination)
    line.append(",\"route\":\"")
    line.append(record.route)
    if record.cacheResult.utf8CodeUnitCount > 0 {
      line.append("\",\"cache\":\"")
      line.append(ByteView(record.cacheResult))
    }
    line.append("\",\"end\":\"")
    line.append(ByteView(record.endReason))
  }

  @inline(__always)
  private static func append(optional value: Int, to line: inout ByteWriter) {
    if value < 0 { line.append("null") } else { line.append(decimal: value) }
  }

  @inline(__always)
  private static func writeCombined(
    _ record: inout AccessRecord, _ clock: LogClock, _ text: inout some LogText,
    to line: inout ByteWriter
  ) {
    line.append(record.clientAddress)
    line.append(" - - [")
    line.append(clock.text, length: clock.length)
    line.append("] \"")
    appendCombined(record.method, &text, to: &line)
    line.append(byte: UInt8(ascii: " "))
    appendCombined(record.target, &text, to: &line)
    line.append(byte: UInt8(ascii: " "))
    if record.version.utf8CodeUnitCount == 0 { line.append(byte: UInt8(ascii: "-")) }
    line.append(ByteView(record.version))
    line.append("\" ")
    line.append(decimal: record.status)
    line.append(byte: UInt8(ascii: " "))
    if record.responseOctets == 0 {
      line.append(byte: UInt8(ascii: "-"))
    } else {
      line.append(decimal: record.responseOctets)
    }
    line.append(" \"")
    appendCombined(record.referer, &text, to: &line)
    line.append("\" \"")
    appendCombined(record.userAgent, &text, to: &line)
    line.append("\"\n")
  }

  @inline(__always)
  private static func appendCombined(
    _ view: ByteView, _ text: inout some LogText, to line: inout ByteWriter
  ) {
    if view.isEmpty {
      line.append(byte: UInt8(ascii: "-"))
    } else {
      text.append(view, to: &line)
    }
  }
}

/// The wall clock's current second as a log line writes it, made once a second.
struct LogClock {
  /// At most 32 octets.
  private(set) var text = InlineArray<4, UInt64>(repeating: 0)
  private(set) var length = 0
  private let format: AccessLogOptions.Format
  private var second = Int64.min

  init(_ format: AccessLogOptions.Format) { self.format = format }

  /// RFC 3339 up to the seconds (`2026-01-02T03:04:05`), or with the offset for the combined
  /// format (`02/Jan/2026:03:04:05 +0000`).
  @inline(__always)
  mutating func advance(to unixSeconds: Int64) {
    if unixSeconds != second { remake(unixSeconds) }
  }

  private mutating func remake(_ unixSeconds: Int64) {
    second = unixSeconds
    let time = CivilTime(unixSeconds: unixSeconds)
    var bytes = [UInt8](repeating: 0, count: 32)
    length = bytes.withByteSink { sink in
      switch format {
      case .json: sink.appendRFC3339(time)
      case .combined: sink.appendCommonLogTime(time)
      }
      return sink.count
    }
    for word in 0..<4 {
      text[word] = (0..<8).reduce(0 as UInt64) {
        $0 | UInt64(bytes[word * 8 + $1]) << UInt64($1 * 8)
      }
    }
  }
}

extension ByteSink {
  /// `2026-01-02T03:04:05`, without fraction and zone.
  mutating func appendRFC3339(_ time: CivilTime) {
    append(decimal: UInt(clamping: time.year), width: 4)
    append(byte: UInt8(ascii: "-"))
    append(decimal: UInt(time.month), width: 2)
    append(byte: UInt8(ascii: "-"))
    append(decimal: UInt(time.day), width: 2)
    append(byte: UInt8(ascii: "T"))
    appendTimeOfDay(time)
  }

  mutating func appendCommonLogTime(_ time: CivilTime) {
    append(decimal: UInt(time.day), width: 2)
    append(byte: UInt8(ascii: "/"))
    append(CivilTime.monthName(time.month))
    append(byte: UInt8(ascii: "/"))
    append(decimal: UInt(clamping: time.year), width: 4)
    append(byte: UInt8(ascii: ":"))
    appendTimeOfDay(time)
    append(" +0000")
  }

  private mutating func appendTimeOfDay(_ time: CivilTime) {
    append(decimal: UInt(time.hour), width: 2)
    append(byte: UInt8(ascii: ":"))
    append(decimal: UInt(time.minute), width: 2)
    append(byte: UInt8(ascii: ":"))
    append(decimal: UInt(time.second), width: 2)
  }
}
