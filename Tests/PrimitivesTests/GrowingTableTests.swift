import Primitives
import Testing

@Suite struct `A growing table` {
  private final class Witness {
    private let note: (Int) -> Void
    let number: Int

    init(_ number: Int, _ note: @escaping (Int) -> Void) {
      self.number = number
      self.note = note
    }

    deinit { note(number) }
  }

  @Test func `keeps its elements in order, at addresses that never move`() {
    var table = GrowingTable<Int>()
    table.append(7)
    let first = withUnsafePointer(to: &table[0]) { UInt(bitPattern: $0) }
    for number in 1..<5000 { table.append(number * 7) }
    let again = withUnsafePointer(to: &table[0]) { UInt(bitPattern: $0) }
    let numbers = table.indices.map { table[$0] }
    let count = table.count
    #expect(first == again && count == 5000)
    #expect(numbers == [7] + (1..<5000).map { $0 * 7 })
  }

  @Test func `changes an element where it stands`() {
    var table = GrowingTable<[Int]>()
    for number in 0..<100 { table.append([number]) }
    table[63].append(1)
    table[64] = [2]
    let changed = [table[62], table[63], table[64]]
    #expect(changed == [[62], [63, 1], [2]])
  }

  @Test func `frees each element once, when it is replaced or with the table`() {
    var freed: [Int] = []
    do {
      var table = GrowingTable<Witness>()
      for number in 0..<70 { table.append(Witness(number) { freed.append($0) }) }
      table[3] = Witness(100) { freed.append($0) }
      #expect(freed == [3])
    }
    #expect(Set(freed).count == 71)
  }

  @Test func `an index that is not there ends the process`() async {
    await #expect(processExitsWith: .failure) {
      let table = GrowingTable<Int>()
      _ = table[0]
    }
  }
}
