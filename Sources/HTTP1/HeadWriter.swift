import HTTP
import Primitives

/// Heads to bytes: the pieces of which the proxy writes HTTP/1 messages.
public enum HeadWriter {
  /// Copies a head's field lines except those named by `dropping` or marked in `mask`; runs of
  /// untouched lines go in one copy each.
  public static func appendFields(
    _ fields: borrowing Fields, of bytes: ByteView, dropping: FieldSet, mask: FieldMask,
    to sink: inout ByteSink
  ) {
    var runStart = -1
    var runEnd = -1
    for index in 0..<fields.count {
      let field = fields[index]
      if dropping.contains(field.name) || mask.contains(index) { continue }
      if runEnd == Int(field.lineRange.start) {
        runEnd = Int(field.lineRange.end)
        continue
      }
      if runStart >= 0 { sink.append(bytes.slice(runStart, runEnd)) }
      runStart = Int(field.lineRange.start)
      runEnd = Int(field.lineRange.end)
    }
    if runStart >= 0 { sink.append(bytes.slice(runStart, runEnd)) }
  }

  public static func appendStatusLine(
    _ status: Int, reason: ByteView, to sink: inout ByteSink
  ) {
    sink.append("HTTP/1.1 ")
    sink.append(decimal: UInt(status), width: 3)
    sink.append(byte: UInt8(ascii: " "))
    sink.append(reason)
    sink.append("\r\n")
  }

  public static func appendField(
    _ name: StaticString, _ value: StaticString, to sink: inout ByteSink
  ) {
    sink.append(name)
    sink.append(": ")
    sink.append(value)
    sink.append("\r\n")
  }

  public static func appendField(
    _ name: StaticString, _ value: ByteView, to sink: inout ByteSink
  ) {
    sink.append(name)
    sink.append(": ")
    sink.append(value)
    sink.append("\r\n")
  }

  public static func appendContentLength(_ length: Int, to sink: inout ByteSink) {
    sink.append("Content-Length: ")
    sink.append(decimal: UInt(length))
    sink.append("\r\n")
  }

  /// The size line of a chunk of `count` octets; CRLF must follow its data.
  public static func appendChunkSize(_ count: Int, to sink: inout ByteSink) {
    sink.append(hex: UInt(count))
    sink.append("\r\n")
  }
}
