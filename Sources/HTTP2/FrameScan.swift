import CNghttp2
import Primitives

/// One frame header (RFC 9113 §4.1).
struct FrameHeader: BitwiseCopyable {
  var type: UInt8
  var flags: UInt8
  var stream: Int32
  /// Octets of the payload.
  var length: Int
  /// Where the header begins among the octets that were walked over; negative where it began
  /// before them.
  var start: Int
}

/// Walks over the frame headers of what a peer sends, beside the parser: nghttp2 says nothing of
/// frames that it ignores, and those have to be counted and judged, too (safety rules 30 and 35).
struct FrameScan: BitwiseCopyable {
  private static let headerBytes = 9
  /// Octets of the preface and of payloads that are passed over.
  private var skip: Int
  private var lengthTypeFlags: UInt64 = 0
  private var stream: UInt32 = 0
  private var count = 0
  /// Of the frame's payload, where it names a stream that its own depends on: octets up to the end
  /// of that name that are still to come, what has come of it, and the frame's own stream.
  private var nameAhead = 0
  private var name: UInt32 = 0
  private var named: UInt32 = 0

  init(ofClient: Bool) { skip = ofClient ? 24 : 0 }

  /// Calls `found` for each frame whose header ends within `octets`, until it returns false.
  mutating func walk(_ octets: ByteView, _ found: (FrameHeader) -> Bool) {
    var index = 0
    while index < octets.count {
      if skip > 0 {
        let step = min(skip, octets.count - index)
        if nameAhead > 0 { changeOwnName(octets.slice(index, index + step)) }
        skip -= step
        index += step
        continue
      }
      if count == 0, octets.count - index >= FrameScan.headerBytes {
        // Nearly always.
        let word = octets.bigEndian64(at: index)
        lengthTypeFlags = word >> 24
        stream = UInt32(truncatingIfNeeded: word & 0xFF_FFFF) << 8 | UInt32(octets[index + 8])
        count = FrameScan.headerBytes
        index += FrameScan.headerBytes
      } else if count < 5 {
        lengthTypeFlags = lengthTypeFlags << 8 | UInt64(octets[index])
        count += 1
        index += 1
      } else {
        stream = stream << 8 | UInt32(octets[index])
        count += 1
        index += 1
      }
      guard count == FrameScan.headerBytes else { continue }
      let header = FrameHeader(
        type: UInt8(lengthTypeFlags >> 8 & 0xFF), flags: UInt8(lengthTypeFlags & 0xFF),
        stream: Int32(bitPattern: stream & 0x7FFF_FFFF), length: Int(lengthTypeFlags >> 16),
        start: index - FrameScan.headerBytes)
      expectName(header)
      lengthTypeFlags = 0
      stream = 0
      count = 0
      skip = header.length
      guard found(header) else { return }
    }
  }

  /// HEADERS may, and PRIORITY does, name a stream to depend on (RFC 9113 §6.2 and §6.3).
  private mutating func expectName(_ header: FrameHeader) {
    name = 0
    named = stream & 0x7FFF_FFFF
    switch UInt32(header.type) {
    case NGHTTP2_PRIORITY.rawValue: nameAhead = 4
    case NGHTTP2_HEADERS.rawValue
    where header.flags & UInt8(NGHTTP2_FLAG_PRIORITY.rawValue) != 0:
      nameAhead = header.flags & UInt8(NGHTTP2_FLAG_PADDED.rawValue) != 0 ? 5 : 4
    default: nameAhead = 0
    }
  }

  /// Nobody looks at what streams depend on, but nghttp2 ends the connection of one that depends on
  /// itself: where it stands, the name becomes another one (safety rule 35).
  private mutating func changeOwnName(_ payload: ByteView) {
    for index in 0..<min(nameAhead, payload.count) {
      name = name << 8 | UInt32(payload[index])
      nameAhead -= 1
      if nameAhead == 0, name & 0x7FFF_FFFF == named { payload.flipLowestBit(at: index) }
    }
  }
}
