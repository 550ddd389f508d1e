import Primitives

/// Turns access records into lines: JSON, or Apache's combined format. One for each worker.
///
/// The line is put together in a buffer of its own and copied once to where it goes, so it is
/// there whole or not at all.
public struct AccessLogFormat: ~Copyable {
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

  /// Appends the record's line with its line feed. False where the sink has no room for it: the
  /// caller passes on what the sink holds and tries again with an empty one.
  public mutating func append(_ record: AccessRecord, to sink: inout ByteSink) -> Bool {
    makeLine(record)
    let mark = sink.count
    sink.append(line.view)
    if sink.overflowed {
      sink.truncate(to: mark)
      return false
    }
    return true
  }

  private mutating func makeLine(_ record: AccessRecord) {
    line.removeAll()
    clock.advance(to: record.unixSeconds)
    let room = (LineBuffer.capacity - AccessLogFormat.fixedBytes) / AccessLogFormat.escapeFactor
    if record.textCount <= room {
      write(record)
    } else {
      // A head limit far above the default lets in texts that are too long for a line.
      var cut = record
      cut.cutViews(to: room / AccessRecord.viewCount)
      write(cut)
    }
  }

  @inline(__always)
  private mutating func write(_ record: AccessRecord) {
    switch format {
    case .json: writeJSON(record)
    case .combined: writeCombined(record)
    }
  }

  private mutating func writeJSON(_ record: AccessRecord) {
    line.append("{\"time\":\"")
    line.append(clock.text, length: clock.length)
    line.append(byte: UInt8(ascii: "."))
    line.append(thousandths: record.milliseconds)
    line.append("Z\",\"client\":\"")
    line.append(record.clientAddress)
    line.append("\",\"client_port\":")
    line.append(decimal: Int(record.clientPort))
    line.append(",\"method\":")
    line.append(jsonString: record.method)
    line.append(",\"target\":")
    line.append(jsonString: record.target)
    line.append(",\"host\":")
    line.append(jsonString: record.host)
    line.append(",\"version\":")
    line.append(jsonString: record.version)
    line.append(",\"status\":")
    line.append(decimal: record.status)
    line.append(",\"request_bytes\":")
    line.append(decimal: record.requestOctets)
    line.append(",\"response_bytes\":")
    line.append(decimal: record.responseOctets)
    line.append(",\"connect_us\":")
    append(optional: record.connectMicroseconds)
    line.append(",\"first_byte_us\":")
    append(optional: record.firstByteMicroseconds)
    line.append(",\"total_us\":")
    line.append(decimal: record.totalMicroseconds)
    line.append(",\"attempts\":")
    line.append(decimal: record.attempts)
    line.append(",\"upstream\":")
    line.append(jsonString: record.upstream)
    line.append(",\"backend\":")
    line.append(jsonString: record.backend)
    line.append(",\"route\":")
    line.append(jsonString: record.route)
    line.append(",\"end\":")
    line.append(jsonString: ByteView(record.endReason))
    line.append(",\"request_id\":")
    line.append(jsonString: record.requestID)
    line.append(",\"referer\":")
    line.append(jsonString: record.referer)
    line.append(",\"user_agent\":")
    line.append(jsonString: record.userAgent)
    line.append(",\"traceparent\":")
    line.append(jsonString: record.traceparent)
    line.append("}\n")
  }

  @inline(__always)
  private mutating func append(optional value: Int) {
    if value < 0 { line.append("null") } else { line.append(decimal: value) }
  }

  private mutating func writeCombined(_ record: AccessRecord) {
    line.append(record.clientAddress)
    line.append(" - - [")
    line.append(clock.text, length: clock.length)
    line.append("] \"")
    line.append(combinedText: record.method)
    line.append(byte: UInt8(ascii: " "))
    line.append(combinedText: record.target)
    line.append(byte: UInt8(ascii: " "))
    line.append(combinedText: record.version)
    line.append("\" ")
    line.append(decimal: record.status)
    line.append(byte: UInt8(ascii: " "))
    if record.responseOctets == 0 {
      line.append(byte: UInt8(ascii: "-"))
    } else {
      line.append(decimal: record.responseOctets)
    }
    line.append(" \"")
    line.append(combinedText: record.referer)
    line.append("\" \"")
    line.append(combinedText: record.userAgent)
    line.append("\"\n")
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
      text[word] = (0..<8).reduce(0 as UInt64) { $0 | UInt64(bytes[word * 8 + $1]) << UInt64($1 * 8) }
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
