import COpenSSL
import Primitives

/// The two halves of the proof that a peer has read a WebSocket handshake (RFC 6455 §4).
public enum WebSocketKey {
  private static let guid: StaticString = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
  private static let digestBytes = 20

  /// `Sec-WebSocket-Key` of these sixteen octets.
  public static func append(_ number: (UInt64, UInt64), to sink: inout ByteSink) {
    let octets = withUnsafeBytes(of: (number.0.bigEndian, number.1.bigEndian)) { Array($0) }
    append(base64: octets, to: &sink)
  }

  /// `Sec-WebSocket-Accept` that belongs to a key.
  public static func appendAccept(of key: ByteView, to sink: inout ByteSink) {
    let text = key.array + ByteView(guid).array
    var digest = [UInt8](repeating: 0, count: digestBytes)
    EVP_Digest(text, text.count, &digest, nil, EVP_sha1(), nil)
    append(base64: digest, to: &sink)
  }

  private static func append(base64 octets: [UInt8], to sink: inout ByteSink) {
    // With the NUL that OpenSSL writes behind it.
    var text = [UInt8](repeating: 0, count: (octets.count + 2) / 3 * 4 + 1)
    let count = EVP_EncodeBlock(&text, octets, Int32(octets.count))
    text.withByteView { sink.append($0.slice(0, Int(count))) }
  }
}
