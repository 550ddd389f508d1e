import HTTP
import Primitives

extension CacheControl {
  /// Directives of a targeted field (RFC 9213): a dictionary of structured fields, all lines
  /// together. `nil` where it is absent, empty, or does not parse: the field then counts as absent
  /// (RFC 9213 §2.1).
  ///
  /// A member whose value has the wrong type counts as the least it could mean, as in
  /// Cache-Control. Of members with one name the last one holds (RFC 9651 §4.2.2).
  init?(targeted name: FieldName, _ fields: borrowing Fields, _ head: ByteView) {
    guard let first = fields.firstIndex(of: name) else { return nil }
    let value = head.slice(fields[first].valueRange)
    guard var next = fields.firstIndex(of: name, from: first + 1) else {
      self.init(dictionary: value)
      return
    }
    // RFC 9651 §4.2: lines are joined before they are parsed.
    var joined = value.array
    while true {
      joined += [UInt8(ascii: ","), UInt8(ascii: " ")]
      joined += head.slice(fields[next].valueRange).array
      guard let further = fields.firstIndex(of: name, from: next + 1) else { break }
      next = further
    }
    guard let control = joined.withByteView({ CacheControl(dictionary: $0) }) else { return nil }
    self = control
  }

  init?(dictionary: ByteView) {
    self.init()
    var reader = StructuredDictionary(dictionary)
    var count = 0
    while let member = reader.next() {
      set(member)
      count += 1
    }
    guard !reader.hasFailed, count > 0 else { return nil }
  }

  private mutating func set(_ member: StructuredDictionary.Member) {
    let name = member.key
    if name.equals("max-age") {
      maxAge = member.seconds ?? 0
    } else if name.equals("s-maxage") {
      sMaxAge = member.seconds ?? 0
    } else if name.equals("stale-while-revalidate") {
      staleWhileRevalidate = member.seconds ?? 0
    } else if name.equals("stale-if-error") {
      staleIfError = member.seconds ?? 0
    } else if let flag = CacheControl.flag(name) {
      // `public` and `must-understand` let a cache do more, and so only when they are true.
      let permits: Flags = [.isPublic, .mustUnderstand]
      let isSet = permits.contains(flag) ? member.value == .boolean(true) : !member.isFalse
      if isSet { flags.insert(flag) } else { flags.remove(flag) }
    }
  }

  private static func flag(_ name: ByteView) -> Flags? {
    if name.equals("no-store") { return .noStore }
    if name.equals("no-cache") { return .noCache }
    if name.equals("private") { return .isPrivate }
    if name.equals("public") { return .isPublic }
    if name.equals("must-revalidate") { return .mustRevalidate }
    if name.equals("proxy-revalidate") { return .proxyRevalidate }
    if name.equals("must-understand") { return .mustUnderstand }
    if name.equals("immutable") { return .immutable }
    return nil
  }

  /// `Surrogate-Control` (W3C Edge Architecture 1.0): `no-store` and `max-age=N[+M]`, where M
  /// is the time that the response may be served stale while it is fetched anew. `nil` where
  /// neither is there.
  init?(surrogate fields: borrowing Fields, _ head: ByteView) {
    self.init()
    var isFound = false
    var line = fields.firstIndex(of: .surrogateControl)
    while let index = line {
      var members = Directives(head.slice(fields[index].valueRange))
      while let directive = members.next() {
        if directive.name.equalsLowercased("no-store") {
          flags.insert(.noStore)
          isFound = true
        } else if directive.name.equalsLowercased("max-age") {
          addSurrogateAge(directive.argument ?? .empty)
          isFound = true
        }
      }
      line = fields.firstIndex(of: .surrogateControl, from: index + 1)
    }
    guard isFound else { return nil }
  }

  private mutating func addSurrogateAge(_ argument: ByteView) {
    // A target in parentheses names one surrogate; weir has no such name, so it means nothing.
    let end = argument.firstIndex(of: UInt8(ascii: ";")) ?? argument.count
    let age = argument.slice(0, end).trimmed()
    let plus = age.firstIndex(of: UInt8(ascii: "+"))
    CacheControl.lower(&maxAge, age.slice(0, plus ?? age.count).deltaSeconds ?? 0)
    if let plus {
      let extra = age.slice(from: plus + 1).deltaSeconds ?? 0
      CacheControl.lower(&staleWhileRevalidate, extra)
    }
  }
}
