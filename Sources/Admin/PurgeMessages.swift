import Caching
import HTTP
import Proxy

/// Content of `POST /v1/purge`. Fields that are not known are refused: a misspelt `soft` must not
/// become a hard purge.
public struct PurgeBody: Codable, Sendable, Equatable {
  public var tags: [String]?
  public var urls: [String]?
  public var prefix: String?
  public var all: Bool?
  public var soft: Bool?
  public var dryRun: Bool?
  /// Of one cache only.
  public var cache: String?

  private enum CodingKeys: String, CodingKey, CaseIterable {
    case tags, urls, prefix, all, soft, dryRun, cache
  }

  private struct AnyKey: CodingKey {
    let stringValue: String
    var intValue: Int? { nil }
    init?(stringValue: String) { self.stringValue = stringValue }
    init?(intValue: Int) { nil }
  }

  struct UnknownField: Error { let name: String }

  public init() {}

  public init(from decoder: any Decoder) throws {
    let known = Set(CodingKeys.allCases.map(\.rawValue))
    for key in try decoder.container(keyedBy: AnyKey.self).allKeys
    where !known.contains(key.stringValue) { throw UnknownField(name: key.stringValue) }
    let fields = try decoder.container(keyedBy: CodingKeys.self)
    tags = try fields.decodeIfPresent([String].self, forKey: .tags)
    urls = try fields.decodeIfPresent([String].self, forKey: .urls)
    prefix = try fields.decodeIfPresent(String.self, forKey: .prefix)
    all = try fields.decodeIfPresent(Bool.self, forKey: .all)
    soft = try fields.decodeIfPresent(Bool.self, forKey: .soft)
    dryRun = try fields.decodeIfPresent(Bool.self, forKey: .dryRun)
    cache = try fields.decodeIfPresent(String.self, forKey: .cache)
  }

  private static let example = "expected a JSON object such as {\"tags\":[\"news\"]}"

  static func answer(_ content: [UInt8]) -> AdminAnswer {
    let body: PurgeBody
    do {
      body = try AdminJSON.decoded(PurgeBody.self, content)
    } catch let fault as UnknownField {
      let known = CodingKeys.allCases.map { $0 == .dryRun ? "dry_run" : $0.rawValue }
      return .response(
        .problem(
          400, "'\(fault.name)' is no field of a purge: expected \(known.joined(separator: ", "))"))
    } catch { return .response(.problem(400, example)) }
    guard !body.order.isEmpty else {
      return .response(
        .problem(422, "nothing to purge: expected 'tags', 'urls', 'prefix' or 'all'"))
    }
    return .purge(body.order)
  }

  var order: PurgeOrder {
    var order = PurgeOrder()
    order.cache = cache
    order.tags = tags ?? []
    order.urls = urls ?? []
    // An empty one is none, as in the documented form.
    order.prefix = prefix.flatMap { $0.isEmpty ? nil : $0 }
    order.all = all ?? false
    order.soft = soft ?? false
    order.dryRun = dryRun ?? false
    return order
  }
}

/// The answer: what was purged, and the number of the purge.
public struct PurgeDocument: Codable, Sendable {
  /// Names this purge in the event log.
  public var id: String
  public var matched: Int
  public var bytes: Int
  public var sequence: UInt64
  public var soft: Bool
  public var dryRun: Bool

  init(_ order: PurgeOrder, _ result: PurgeResult, instance: String) {
    id = "\(instance)-\(result.sequence)"
    matched = result.matched
    bytes = result.bytes
    sequence = result.sequence
    soft = order.soft
    dryRun = order.dryRun
  }
}

/// A request with the method PURGE: of the tags it names, else of its URL, of both schemes where it
/// does not say which.
public struct PurgeHead: Sendable, Equatable {
  /// As received.
  public var target: String
  public var host: String
  /// Values of `Surrogate-Key`, tags between blanks, and of `Cache-Tag`, between commas.
  public var surrogateKeys: [String]
  public var cacheTags: [String]
  /// `Soft-Purge: 1`, also with the prefix that Fastly has for it.
  public var isSoft: Bool

  public init(
    target: String, host: String, surrogateKeys: [String] = [], cacheTags: [String] = [],
    isSoft: Bool = false
  ) {
    self.target = target
    self.host = host
    self.surrogateKeys = surrogateKeys
    self.cacheTags = cacheTags
    self.isSoft = isSoft
  }

  var order: PurgeOrder {
    var order = PurgeOrder()
    order.soft = isSoft
    for value in surrogateKeys { order.tags += PurgeHead.words(value) }
    // A tag has no blanks within, so what is left of one are those around it.
    for value in cacheTags {
      for tag in value.split(separator: ",") {
        order.tags.append(PurgeHead.words(String(tag)).joined(separator: " "))
      }
    }
    order.tags.removeAll(where: \.isEmpty)
    guard order.tags.isEmpty else { return order }
    order.urls =
      target.hasPrefix("/")
      ? ["http://\(host)\(target)", "https://\(host)\(target)"] : [target]
    return order
  }

  var answer: AdminAnswer { .purge(order) }

  /// What stands between blanks.
  private static func words(_ value: String) -> [String] {
    value.split { $0 == " " || $0 == "\t" }.map { String($0) }
  }
}
