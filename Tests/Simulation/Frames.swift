/// One end of a connection of HTTP/2 (RFC 9113), client's or server's: frames, windows and what
/// answers itself (settings, pings). What the other end must not do is told as a fault.
struct Frames {
  enum Event {
    case head(stream: Int, fields: [FieldBlock.Field], ends: Bool)
    case body(stream: Int, range: Range<Int>, ends: Bool)
    case reset(stream: Int, code: UInt32)
    case goAway(last: Int, code: UInt32)
    /// More octets are needed.
    case more
    case fault(String)
  }

  private enum Kind {
    static let body: UInt8 = 0
    static let head: UInt8 = 1
    static let reset: UInt8 = 3
    static let settings: UInt8 = 4
    static let ping: UInt8 = 6
    static let goAway: UInt8 = 7
    static let window: UInt8 = 8
    static let continuation: UInt8 = 9
  }

  private struct Stream {
    var sendWindow: Int
    var receiveWindow: Int
    /// Octets that were taken and whose window was not given back.
    var owed = 0
  }

  static let preface = Array("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".utf8)
  private static let standardWindow = 65_535
  private static let mostPayload = 16_384

  private(set) var octets: [UInt8] = []
  private var place = 0
  private(set) var out: [UInt8] = []
  private var sent = 0
  private let fields = FieldBlock()
  private var streams: [Int: Stream] = [:]
  private let ownWindow: Int
  private var peerWindow = Frames.standardWindow
  private var sendWindow = Frames.standardWindow
  private var receiveWindow = Frames.standardWindow
  private var owed = 0
  /// A block whose end has not come.
  private var block: (stream: Int, ends: Bool, octets: [UInt8])?
  private(set) var pingsOut = 0
  /// The other end has confirmed these settings; until then it may not know the window.
  private var isKnown = false

  /// `window`: of each stream at first, in octets.
  init(window: Int) {
    ownWindow = window
    var payload: [UInt8] = []
    Frames.append(4, 2, to: &payload)
    Frames.append(window, 4, to: &payload)
    write(Kind.settings, payload: payload)
  }

  var isFlushed: Bool { sent == out.count }

  // MARK: Sending

  private static func append(_ value: Int, _ count: Int, to octets: inout [UInt8]) {
    for shift in stride(from: (count - 1) * 8, through: 0, by: -8) {
      octets.append(UInt8(truncatingIfNeeded: value >> shift))
    }
  }

  private mutating func write(
    _ kind: UInt8, flags: UInt8 = 0, stream: Int = 0, payload: [UInt8] = []
  ) {
    Frames.append(payload.count, 3, to: &out)
    out += [kind, flags]
    Frames.append(stream, 4, to: &out)
    out += payload
  }

  mutating func writeRaw(_ octets: [UInt8]) { out += octets }

  /// Before everything else.
  mutating func writePreface() { out = Frames.preface + out }

  mutating func open(_ stream: Int) {
    streams[stream] = Stream(
      sendWindow: peerWindow, receiveWindow: isKnown ? ownWindow : Frames.standardWindow)
  }

  /// Nothing more is sent there, and what comes is only counted.
  mutating func close(_ stream: Int) { streams[stream] = nil }

  mutating func head(_ stream: Int, _ list: [FieldBlock.Field], ends: Bool) {
    write(
      Kind.head, flags: 4 | (ends ? 1 : 0), stream: stream, payload: FieldBlock.write(list))
  }

  /// How much content may be sent now.
  func room(_ stream: Int) -> Int {
    min(Frames.mostPayload, max(0, min(sendWindow, streams[stream]?.sendWindow ?? 0)))
  }

  /// At most `room`.
  mutating func body(_ stream: Int, _ content: [UInt8], ends: Bool) {
    sendWindow -= content.count
    streams[stream]?.sendWindow -= content.count
    write(Kind.body, flags: ends ? 1 : 0, stream: stream, payload: content)
  }

  mutating func reset(_ stream: Int, code: Int) {
    var payload: [UInt8] = []
    Frames.append(code, 4, to: &payload)
    write(Kind.reset, stream: stream, payload: payload)
    close(stream)
  }

  mutating func ping() {
    pingsOut += 1
    write(Kind.ping, payload: [UInt8](repeating: 7, count: 8))
  }

  mutating func goAway(last: Int = 0) {
    var payload: [UInt8] = []
    Frames.append(last, 4, to: &payload)
    Frames.append(0, 4, to: &payload)
    write(Kind.goAway, payload: payload)
  }

  /// Gives back what is owed of the connection, and of these streams.
  mutating func giveWindow(_ wanted: [Int]) {
    if owed > 0 { give(owed, 0) }
    receiveWindow += owed
    owed = 0
    for stream in wanted {
      guard let count = streams[stream]?.owed, count > 0 else { continue }
      give(count, stream)
      streams[stream]?.receiveWindow += count
      streams[stream]?.owed = 0
    }
  }

  /// Whether the other end may have to wait for window.
  func owes(_ stream: Int) -> Bool { (streams[stream]?.owed ?? 0) > 0 }
  var owesAny: Bool { owed > 0 }

  private mutating func give(_ count: Int, _ stream: Int) {
    var payload: [UInt8] = []
    Frames.append(count, 4, to: &payload)
    write(Kind.window, stream: stream, payload: payload)
  }

  /// Hands the kernel at most `count` octets of what waits.
  mutating func flush(_ descriptor: Int32, atMost count: Int) -> Sockets.Outcome {
    guard sent < out.count else { return .wouldBlock }
    let outcome = Sockets.write(descriptor, out[sent..<min(out.count, sent + count)])
    if case .octets(let taken) = outcome { sent += taken }
    if sent == out.count {
      out = []
      sent = 0
    }
    return outcome
  }

  // MARK: Receiving

  mutating func receive(_ descriptor: Int32, atMost count: Int) -> Sockets.Outcome {
    if place > 1 << 15 || place == octets.count {
      octets.removeFirst(place)
      place = 0
    }
    return Sockets.read(descriptor, atMost: count, into: &octets)
  }

  /// True once the client's preface has come whole; a fault where something else came.
  mutating func takePreface() -> Bool? {
    let common = min(octets.count - place, Frames.preface.count)
    guard octets[place..<(place + common)].elementsEqual(Frames.preface[..<common]) else {
      return nil
    }
    guard common == Frames.preface.count else { return false }
    place += common
    return true
  }

  private func number(_ offset: Int, _ count: Int) -> Int {
    octets[(place + offset)..<(place + offset + count)].reduce(0) { $0 << 8 | Int($1) }
  }

  mutating func next() -> Event {
    while octets.count - place >= 9 {
      let length = number(0, 3)
      guard length <= Frames.mostPayload else { return .fault("a frame of \(length) octets") }
      guard octets.count - place >= 9 + length else { return .more }
      let (kind, flags, stream) = (octets[place + 3], octets[place + 4], number(5, 4))
      let payload = (place + 9)..<(place + 9 + length)
      place += 9 + length
      if let event = take(kind, flags, stream, payload) { return event }
    }
    return .more
  }

  private func value(_ range: Range<Int>) -> Int { octets[range].reduce(0) { $0 << 8 | Int($1) } }

  private mutating func take(
    _ kind: UInt8, _ flags: UInt8, _ stream: Int, _ payload: Range<Int>
  ) -> Event? {
    if block != nil, kind != Kind.continuation { return .fault("a frame within a field block") }
    switch kind {
    case Kind.body: return takeBody(flags, stream, payload)
    case Kind.head, Kind.continuation: return takeHead(kind, flags, stream, payload)
    case Kind.reset:
      close(stream)
      return .reset(stream: stream, code: UInt32(value(payload)))
    case Kind.settings: takeSettings(flags, payload)
    case Kind.ping where flags & 1 == 0: write(kind, flags: 1, payload: Array(octets[payload]))
    case Kind.ping: pingsOut -= 1
    case Kind.goAway:
      let start = payload.lowerBound
      return .goAway(
        last: value(start..<(start + 4)), code: UInt32(value((start + 4)..<(start + 8))))
    case Kind.window:
      let count = value(payload)
      if count == 0 { return .fault("a window of nothing") }
      if stream == 0 { sendWindow += count } else { streams[stream]?.sendWindow += count }
    default: return .fault("a frame of kind \(kind)")
    }
    return nil
  }

  private mutating func takeBody(_ flags: UInt8, _ stream: Int, _ payload: Range<Int>) -> Event {
    guard flags & 8 == 0 else { return .fault("padding") }
    receiveWindow -= payload.count
    owed += payload.count
    streams[stream]?.receiveWindow -= payload.count
    streams[stream]?.owed += payload.count
    guard receiveWindow >= 0, streams[stream]?.receiveWindow ?? 0 >= 0 else {
      return .fault("content of stream \(stream) beyond its window")
    }
    return .body(stream: stream, range: payload, ends: flags & 1 != 0)
  }

  private mutating func takeHead(
    _ kind: UInt8, _ flags: UInt8, _ stream: Int, _ payload: Range<Int>
  ) -> Event? {
    var whole = block ?? (stream, flags & 1 != 0, [])
    guard (block == nil) == (kind == Kind.head), whole.stream == stream, flags & 0x28 == 0 else {
      return .fault("frame \(kind) of stream \(stream) with flags \(flags)")
    }
    whole.octets += octets[payload]
    block = flags & 4 == 0 ? whole : nil
    if block != nil { return nil }
    guard let list = fields.read(whole.octets[...]) else { return .fault("a field block") }
    return .head(stream: stream, fields: list, ends: whole.ends)
  }

  private mutating func takeSettings(_ flags: UInt8, _ payload: Range<Int>) {
    guard flags & 1 == 0 else {
      isKnown = true
      for stream in streams.keys {
        streams[stream]?.receiveWindow += ownWindow - Frames.standardWindow
      }
      return
    }
    for start in stride(from: payload.lowerBound, to: payload.upperBound, by: 6)
    where value(start..<(start + 2)) == 4 {
      let window = value((start + 2)..<(start + 6))
      for stream in streams.keys { streams[stream]?.sendWindow += window - peerWindow }
      peerWindow = window
    }
    write(Kind.settings, flags: 1)
  }
}
