import Primitives
import Resilience
import Testing

@Suite struct ClientConnectionTableTests {
  private func v4(_ value: UInt32) -> IPAddress { IPAddress(v4: value) }

  @Test func `a client is admitted up to its limit, and again when it has left`() {
    var table = ClientConnectionTable(capacity: 4, seed: 1)
    #expect(admit(&table, v4(1), limit: 2) == .admitted)
    #expect(admit(&table, v4(1), limit: 2) == .admitted)
    #expect(admit(&table, v4(1), limit: 2) == .clientLimit)
    #expect(admit(&table, v4(2), limit: 2) == .admitted)
    #expect(table.clients == 2)
    table.release(v4(1))
    #expect(admit(&table, v4(1), limit: 2) == .admitted)
    #expect(table.connections(of: v4(1)) == 2)
    #expect(admit(&table, v4(3), limit: 0) == .clientLimit)
  }

  @Test func `more clients than it was made for are refused, and counted ones stay`() {
    var table = ClientConnectionTable(capacity: 3, seed: 2)
    for client in 0..<3 as Range<UInt32> {
      #expect(admit(&table, v4(client), limit: 9) == .admitted)
    }
    #expect(admit(&table, v4(7), limit: 9) == .tableFull)
    #expect(admit(&table, v4(2), limit: 9) == .admitted)
    table.release(v4(0))
    #expect(admit(&table, v4(7), limit: 9) == .admitted)
  }

  @Test func `IPv6 addresses of one /64 are one client, IPv4 addresses are each their own`() {
    var table = ClientConnectionTable(capacity: 8, seed: 3)
    let prefix: UInt64 = 0x2001_0DB8_0000_0001
    #expect(admit(&table, IPAddress(high: prefix, low: 1), limit: 1) == .admitted)
    #expect(admit(&table, IPAddress(high: prefix, low: 2), limit: 1) == .clientLimit)
    #expect(admit(&table, IPAddress(high: prefix + 1, low: 1), limit: 1) == .admitted)
    #expect(admit(&table, v4(0x7F00_0001), limit: 1) == .admitted)
    #expect(admit(&table, v4(0x7F00_0002), limit: 1) == .admitted)
  }

  @Test(arguments: 1...6 as ClosedRange<UInt64>)
  func `agrees with a dictionary under random connections`(seed: UInt64) {
    var random = SeededRandom(seed: seed)
    var table = ClientConnectionTable(capacity: 64, seed: seed)
    var model: [IPAddress: Int] = [:]
    var open: [IPAddress] = []
    for _ in 0..<4000 {
      if random.below(2) == 0, !open.isEmpty {
        let address = open.remove(at: random.below(open.count))
        table.release(address)
        model[address, default: 0] -= 1
        if model[address] == 0 { model[address] = nil }
      } else {
        let address = v4(UInt32(random.below(100)))
        let count = model[address, default: 0]
        let expected: ClientConnectionTable.Admission =
          count >= 5 ? .clientLimit : count == 0 && model.count >= 64 ? .tableFull : .admitted
        #expect(admit(&table, address, limit: 5) == expected)
        if expected == .admitted {
          model[address, default: 0] += 1
          open.append(address)
        }
      }
      table.checkInvariants()
      #expect(table.clients == model.count)
    }
    for client in 0..<100 as Range<UInt32> {
      #expect(table.connections(of: v4(client)) == model[v4(client), default: 0])
    }
  }

  @Test func `shards take about the same share of clients`() {
    var counts = [Int](repeating: 0, count: 8)
    for client in 0..<8000 as Range<UInt32> {
      counts[ClientConnectionTable.shard(of: v4(client), count: 8, seed: 5)] += 1
    }
    #expect(counts.allSatisfy { (850...1150).contains($0) })
  }

  private func admit(
    _ table: inout ClientConnectionTable, _ address: IPAddress, limit: Int
  ) -> ClientConnectionTable.Admission {
    table.admit(address, limit: limit)
  }
}
