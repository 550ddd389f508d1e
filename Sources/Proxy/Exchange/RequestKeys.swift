import Balancing
import HTTP
import Primitives

/// What a request is balanced by, and who it comes from.
extension Worker {
  /// The right-most address that no trusted proxy vouches for (semantics.md 22).
  func clientAddress(
    _ connection: UnsafeMutablePointer<DownstreamConnection>, _ snapshot: Snapshot
  ) -> IPAddress {
    let peer = connection.pointee.address
    guard snapshot.isTrusted(peer), requestHead.fields.contains(.xForwardedFor) else {
      return peer
    }
    var hops: [IPAddress] = []
    var line = requestHead.fields.firstIndex(of: .xForwardedFor)
    while let index = line {
      var members = ListMembers(requestHead.value(index))
      while let member = members.next() {
        guard let hop = IPAddress(member.string) else {
          hops.removeAll()
          continue
        }
        hops.append(hop)
      }
      line = requestHead.fields.firstIndex(of: .xForwardedFor, from: index + 1)
    }
    return hops.last { !snapshot.isTrusted($0) } ?? hops.first ?? peer
  }

  @inline(__always)
  func hash(
    _ key: CompiledHashKey, _ connection: UnsafeMutablePointer<DownstreamConnection>
  ) -> UInt64 {
    switch key {
    case .none: return 0
    case .path: return StableHash.of(requestHead.path)
    case .url:
      let host = StableHash.of(requestHead.authority)
      return StableHash.of(requestHead.bytes.slice(requestHead.pathAndQueryRange), seed: host)
    case .clientAddress:
      let address = clientAddress(connection, currentSnapshot)
      var random = SeededRandom(seed: address.high ^ address.low)
      return random.next()
    case .header(let name):
      let index = name.withByteView {
        requestHead.fields.firstIndex(named: $0, in: requestHead.bytes)
      }
      if let index { return StableHash.of(requestHead.value(index)) }
    case .cookie(let name):
      var line = requestHead.fields.firstIndex(of: .cookie)
      while let index = line {
        let pairs = requestHead.value(index)
        if let hash = HashKeyScan.argument(name, in: pairs, separator: UInt8(ascii: ";")) {
          return hash
        }
        line = requestHead.fields.firstIndex(of: .cookie, from: index + 1)
      }
    case .query(let name):
      let pairs = requestHead.query
      if let hash = HashKeyScan.argument(name, in: pairs, separator: UInt8(ascii: "&")) {
        return hash
      }
    }
    // Requests without the key would all meet at one backend: they are spread by client instead.
    return hash(.clientAddress, connection)
  }
}

/// `name=value` within a query or a Cookie field.
enum HashKeyScan {
  /// Hash of the value; `nil` where the name is absent.
  static func argument(_ name: [UInt8], in text: ByteView, separator: UInt8) -> UInt64? {
    var start = 0
    while start < text.count {
      let end = text.firstIndex(of: separator, from: start) ?? text.count
      let pair = text.slice(start, end).trimmed()
      start = end + 1
      let equals = pair.firstIndex(of: UInt8(ascii: "=")) ?? pair.count
      guard name.withByteView({ pair.slice(0, equals).equals($0) }) else { continue }
      return StableHash.of(pair.slice(from: min(equals + 1, pair.count)))
    }
    return nil
  }
}
