import HTTP
import Primitives

/// Heads to bytes: the pieces of which the proxy writes HTTP/1 messages.
public enum HeadWriter {
  @inline(__always)
  public static func appendStatusLine(
    _ status: Int, reason: ByteView, to sink: inout ByteSink
  ) {
    sink.append("HTTP/1.1 ")
    sink.append(decimal: UInt(status))
    sink.append(byte: UInt8(ascii: " "))
    sink.append(reason)
    sink.append("\r\n")
  }

  @inline(__always)
  public static func appendField(
    _ name: StaticString, _ value: StaticString, to sink: inout ByteSink
  ) {
    sink.append(name)
    sink.append(": ")
    sink.append(value)
    sink.append("\r\n")
  }

  @inline(__always)
  public static func appendField(
    _ name: StaticString, _ value: ByteView, to sink: inout ByteSink
  ) {
    sink.append(name)
    sink.append(": ")
    sink.append(value)
    sink.append("\r\n")
  }

  @inline(__always)
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
