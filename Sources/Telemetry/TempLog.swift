import Glibc
import Primitives
import Synchronization

public final class EventLog: Sendable {
  private let current = Atomic<Int>(1)
  public init() {}
  public var level: LogLevel { get { .info } set {} }
  public func info(_ s: String) { out(s) }
  public func warning(_ s: String) { out(s) }
  public func error(_ s: String) { out(s) }
  func out(_ s: String) { var l = s + "\n"; l.withUTF8 { unsafe _ = write(2, $0.baseAddress, $0.count) } }
}
