import FoundationEssentials

/// JSON as the admin endpoint writes it and its clients read it: names in snake case, sorted, so
/// that two answers can be compared line by line.
public enum AdminJSON {
  /// One line, with its line feed.
  public static func encode(_ document: some Encodable) -> [UInt8] {
    let encoder = JSONEncoder()
    encoder.keyEncodingStrategy = .convertToSnakeCase
    encoder.outputFormatting = [.sortedKeys, .withoutEscapingSlashes]
    do {
      return [UInt8](try encoder.encode(document)) + [UInt8(ascii: "\n")]
    } catch {
      // Only numbers that are not finite cannot be encoded, and no document holds one.
      preconditionFailure("a document of our own cannot be encoded: \(error)")
    }
  }

  /// `nil` where the octets are no such document.
  public static func decode<Document: Decodable>(_ type: Document.Type, _ bytes: [UInt8])
    -> Document?
  {
    try? decoded(type, bytes)
  }

  /// Throws what the document's own decoding throws.
  static func decoded<Document: Decodable>(
    _ type: Document.Type, _ bytes: [UInt8]
  ) throws -> Document {
    let decoder = JSONDecoder()
    decoder.keyDecodingStrategy = .convertFromSnakeCase
    return try decoder.decode(type, from: Data(bytes))
  }
}
