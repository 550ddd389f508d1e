import Primitives
import Testing
import Transport

@Suite struct `Arrivals of threads` {
  @Test func `are counted, and awaited until their deadline`() {
    let arrivals = Arrivals()
    #expect(arrivals.collect() == 0)
    #expect(!arrivals.wait(for: 1, until: .now() + .milliseconds(5)))
    arrivals.signal()
    arrivals.signal()
    #expect(arrivals.wait(for: 2, until: .now()))
    #expect(!arrivals.wait(for: 3, until: .now() + .milliseconds(5)))
    #expect(arrivals.collect() == 2)
  }
}
