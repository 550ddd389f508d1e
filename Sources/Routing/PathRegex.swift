import CPCRE2
import Primitives

/// Why a regular expression was refused, in PCRE2's words.
public struct RegexError: Error, Sendable, Equatable {
  public var message: String
  /// Octets into the expression.
  public var offset: Int
}

/// Regular expressions over paths.
///
/// Matched by PCRE2's interpreter: the service unit forbids writable code pages, so there is no
/// JIT, and the limits below keep the worst expression over the longest path from stalling a
/// worker. The path is bytes, never UTF: what may stand in a path is ASCII (safety rule 10).
enum PathRegex {
  /// Internal match steps of one search; a few milliseconds at the very most.
  static let matchLimit: UInt32 = 100_000
  /// Nested backtracking points.
  static let depthLimit: UInt32 = 10_000
  /// KiB of backtracking memory a matcher may keep.
  static let heapLimitKiB: UInt32 = 4096
  /// Octets of one expression.
  static let lengthLimit = 4096

  /// Compiled code is never written by a match, so every worker may use it (pcre2api,
  /// "Multithreading"). The caller frees it.
  static func compile(_ expression: String) throws(RegexError) -> OpaquePointer {
    let bytes = Array(expression.utf8)
    guard bytes.count <= lengthLimit else {
      throw RegexError(message: "longer than \(lengthLimit) octets", offset: lengthLimit)
    }
    var code: Int32 = 0
    var offset = 0
    // `$` is the end and nothing else; an expression cannot switch to UTF by itself.
    let options =
      PCRE2_DOLLAR_ENDONLY | PCRE2_NEVER_UTF | PCRE2_NEVER_UCP | PCRE2_NEVER_BACKSLASH_C
    let compiled = bytes.withUnsafeBufferPointer {
      pcre2_compile_8($0.baseAddress, $0.count, UInt32(options), &code, &offset, nil)
    }
    guard let compiled else { throw RegexError(message: message(code), offset: offset) }
    return compiled
  }

  private static func message(_ code: Int32) -> String {
    var text = [UInt8](repeating: 0, count: 256)
    let length = pcre2_get_error_message_8(code, &text, text.count)
    return length > 0 ? String(decoding: text[..<Int(length)], as: UTF8.self) : "error \(code)"
  }

  /// `nil` where a limit stopped the search.
  static func search(
    _ code: OpaquePointer, in path: ByteView, _ scratch: OpaquePointer, _ limits: OpaquePointer
  ) -> Bool? {
    let result = pcre2_match_8(code, path.pointer, path.count, 0, 0, scratch, limits)
    if result >= 0 { return true }
    return result == PCRE2_ERROR_NOMATCH ? false : nil
  }
}
