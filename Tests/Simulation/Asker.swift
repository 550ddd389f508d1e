/// A client, whatever it speaks.
protocol Asker: AnyObject {
  var name: String { get }
  /// Nothing is expected any more.
  var isIdle: Bool { get }
  /// False where there was nothing to do.
  func step(_ world: inout World) -> Bool
  /// Goes away, whatever is under way.
  func leave(_ world: inout World)
}
