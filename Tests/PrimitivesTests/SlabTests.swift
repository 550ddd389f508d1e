import Primitives
import Testing

@Suite struct `A slab` {
  private struct Record: BitwiseCopyable {
    var value: UInt64
    var more: (UInt64, UInt8)
  }

  @Test(arguments: 1...4)
  func `is a dictionary with handles for keys`(seed: UInt64) {
    var slab = Slab<Record>(kind: 3, limit: 300)
    var random = SeededRandom(seed: seed)
    var model: [Handle: UInt64] = [:]
    var alive: [Handle] = []
    var gone: [Handle] = []
    for step in 0..<4000 {
      if random.below(step / 800 % 2 == 0 ? 4 : 7) > 2, !alive.isEmpty {
        let handle = alive.remove(at: random.below(alive.count))
        slab.remove(handle)
        model[handle] = nil
        gone.append(handle)
      } else {
        let value = random.next()
        let handle = slab.insert(Record(value: value, more: (value, 9)))
        guard let handle else {
          #expect(model.count == 300)
          continue
        }
        #expect(model[handle] == nil && handle.kind == 3 && handle.index < 300)
        model[handle] = value
        alive.append(handle)
      }
      #expect(slab.count == model.count)
      if let handle = alive.randomElement(using: &random) {
        let found = (slab.resolve(handle)?.pointee.value, slab[handle].pointee.more.0)
        #expect(found.0 == model[handle] && found.1 == model[handle])
      }
      if let handle = gone.randomElement(using: &random) {
        let found = slab.resolve(handle)
        #expect(found == nil)
      }
    }
    let handles = Set(slab.handles())
    let revived = gone.filter { slab.resolve($0) != nil }
    #expect(handles == Set(alive) && revived.isEmpty)
  }

  @Test func `records stay where they are while it grows`() {
    var slab = Slab<UInt64>(kind: 1, limit: 2000)
    guard let first = slab.insert(7), let place = slab.resolve(first) else {
      preconditionFailure("nothing inserted")
    }
    let inserted = (0..<2500).filter { slab.insert(UInt64($0)) != nil }.count
    #expect(inserted == 1999 && slab.count == 2000)
    let found = slab.resolve(first)
    #expect(found == place && place.pointee == 7)
  }

  @Test func `a slot used again has another generation each time`() {
    var slab = Slab<UInt32>(kind: 1, limit: 1)
    var seen = Set<Handle>()
    for round in 0..<1000 {
      guard let handle = slab.insert(UInt32(round)) else { preconditionFailure("full") }
      let isNew = seen.insert(handle).inserted
      #expect(isNew && handle.index == 0)
      slab.remove(handle)
    }
    let revived = seen.filter { slab.resolve($0) != nil }
    #expect(revived.isEmpty)
  }

  @Test func `handles of nothing, of other slabs and of free slots resolve to nothing`() {
    var slab = Slab<UInt32>(kind: 2, limit: 10)
    func resolves(_ kind: UInt8, _ generation: UInt32, _ index: UInt32) -> Bool {
      slab.resolve(Handle(kind: kind, generation: generation, index: index)) != nil
    }
    let emptyFinds = slab.resolve(.none) != nil || resolves(2, 1, 0)
    #expect(!emptyFinds)
    let handle = slab.insert(1)!
    let found = [resolves(2, 1, 0), resolves(1, 1, 0), resolves(2, 2, 0), resolves(2, 1, 1)]
    #expect(found == [true, false, false, false] && handle.index == 0)
    let isFoundFarOut = resolves(2, 1, .max)
    #expect(!isFoundFarOut)
    slab.remove(handle)
    // A free slot has an even generation, which no handle of a record has.
    let foundAfter = [resolves(2, 1, 0), resolves(2, 2, 0), resolves(2, 3, 0)]
    #expect(foundAfter == [false, false, false])
  }

  @Test func `a handle's parts come out as they went in`() {
    for kind: UInt8 in [0, 1, 255] {
      for generation: UInt32 in [0, 1, 0xFF_FFFF] {
        for index: UInt32 in [0, 1, .max] {
          let handle = Handle(kind: kind, generation: generation, index: index)
          #expect(handle.kind == kind && handle.generation == generation && handle.index == index)
          #expect(Handle(raw: handle.raw) == handle)
        }
      }
    }
    #expect(Handle(kind: 1, generation: 0x1FF_FFFF, index: 0).generation == 0xFF_FFFF)
    #expect(Handle(kind: 1, generation: 0x1FF_FFFF, index: 0).kind == 1)
  }

  @Test func `a stale handle that must be alive ends the process`() async {
    await #expect(processExitsWith: .failure) {
      var slab = Slab<UInt32>(kind: 1, limit: 1)
      let handle = slab.insert(1)!
      slab.remove(handle)
      slab.remove(handle)
    }
    await #expect(processExitsWith: .failure) {
      let slab = Slab<UInt32>(kind: 1, limit: 1)
      _ = slab[.none].pointee
    }
  }
}
