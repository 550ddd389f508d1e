import Glibc
import Synchronization

/// Names the seed when a precondition of the code under test ends the process.
public enum CrashNote {
  private static let current = Atomic<UInt64>(0)

  private static let isSet: Bool = {
    for number in [SIGILL, SIGTRAP, SIGABRT, SIGSEGV] { signal(number) { CrashNote.tell($0) } }
    return true
  }()

  /// From now on this one is to be named.
  public static func seed(_ seed: UInt64) {
    current.store(seed, ordering: .relaxed)
    _ = isSet
  }

  /// Calls nothing but what a signal handler may.
  private static func tell(_ number: Int32) {
    var digits = InlineArray<24, UInt8>(repeating: 10)
    var left = current.load(ordering: .relaxed)
    var place = 23
    repeat {
      place -= 1
      digits[place] = UInt8(48 + left % 10)
      left /= 10
    } while left > 0
    let text: StaticString = "the process crashed in seed "
    _ = write(1, text.utf8Start, text.utf8CodeUnitCount)
    withUnsafeBytes(of: &digits) { _ = write(1, $0.baseAddress! + place, 24 - place) }
    signal(number, SIG_DFL)
    raise(number)
  }
}
