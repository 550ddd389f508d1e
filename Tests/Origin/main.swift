import Foundation
import TestSupport

/// An `HTTPOrigin` in a process of its own, for tests that kill one: `test-origin PORT NAME`.
/// It prints `ready` and serves until standard input ends or a signal comes.
func run() throws {
  guard CommandLine.arguments.count == 3, let port = UInt16(CommandLine.arguments[1]) else {
    throw TestFailure("usage: test-origin PORT NAME")
  }
  let origin = try HTTPOrigin(CommandLine.arguments[2], port: port)
  print("ready \(origin.address)")
  fflush(nil)
  while true { pause() }
}

try run()
