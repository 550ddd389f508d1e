import CNghttp2

/// Field lists of HTTP/2 (RFC 7541): written as literals that nobody indexes, read with nghttp2's
/// inflater.
final class FieldBlock {
  typealias Field = (name: String, value: String)

  private var inflater: OpaquePointer?

  init() { nghttp2_hd_inflate_new(&inflater) }

  deinit { nghttp2_hd_inflate_del(inflater) }

  /// §6.2.3.
  static func write(_ fields: [Field]) -> [UInt8] {
    var block: [UInt8] = []
    for field in fields {
      block.append(0x10)
      append(field.name, to: &block)
      append(field.value, to: &block)
    }
    return block
  }

  /// §5.2, without Huffman's code.
  private static func append(_ text: String, to block: inout [UInt8]) {
    let octets = Array(text.utf8)
    if octets.count < 127 {
      block.append(UInt8(octets.count))
    } else {
      block.append(127)
      var rest = octets.count - 127
      while rest >= 128 {
        block.append(UInt8(rest & 127 | 128))
        rest >>= 7
      }
      block.append(UInt8(rest))
    }
    block += octets
  }

  /// `nil` where it breaks a rule. Blocks have to come in the order of their frames.
  func read(_ block: ArraySlice<UInt8>) -> [Field]? {
    var fields: [Field] = []
    var rest = block
    while true {
      var field = nghttp2_nv()
      var flags: Int32 = 0
      let taken = rest.withUnsafeBufferPointer {
        nghttp2_hd_inflate_hd2(inflater, &field, &flags, $0.baseAddress, $0.count, 1)
      }
      guard taken >= 0 else { return nil }
      rest = rest.dropFirst(taken)
      if flags & Int32(NGHTTP2_HD_INFLATE_EMIT.rawValue) != 0 {
        let name = UnsafeBufferPointer(start: field.name, count: field.namelen)
        let value = UnsafeBufferPointer(start: field.value, count: field.valuelen)
        fields.append(
          (String(decoding: name, as: UTF8.self), String(decoding: value, as: UTF8.self)))
      }
      if flags & Int32(NGHTTP2_HD_INFLATE_FINAL.rawValue) != 0 { break }
      if taken == 0, rest.isEmpty { break }
    }
    nghttp2_hd_inflate_end_headers(inflater)
    return fields
  }
}
