/// Which stored response of a shard: its number there, and how many have had the number before it.
struct RecordName: Equatable, BitwiseCopyable {
  var slot: UInt32
  var turn: UInt32
}

/// The numbers of a shard's stored responses, given out from 0 and used again.
///
/// A name stays what it is when its response goes: it then names nobody, whoever has the number
/// next. So what is kept beside the index may name a response that has gone, and be cleared later.
struct RecordNumbers {
  private struct Slot {
    /// 0: nobody has it.
    var unit: UInt32
    var turn: UInt32
  }

  private var slots: [Slot] = []
  private var free: [UInt32] = []

  /// `unit`: the record's first in the arena.
  mutating func give(to unit: UInt32) -> RecordName {
    guard let slot = free.popLast() else {
      slots.append(Slot(unit: unit, turn: 0))
      return RecordName(slot: UInt32(slots.count - 1), turn: 0)
    }
    slots[Int(slot)].unit = unit
    return RecordName(slot: slot, turn: slots[Int(slot)].turn)
  }

  mutating func takeBack(_ slot: UInt32) {
    slots[Int(slot)] = Slot(unit: 0, turn: slots[Int(slot)].turn &+ 1)
    free.append(slot)
  }

  /// The record with this number, which somebody has.
  func unit(_ slot: Int) -> UInt32 { slots[slot].unit }

  /// The record of that name; `nil` where it has gone.
  @inline(__always)
  func unit(_ name: RecordName) -> UInt32? {
    let slot = slots[Int(name.slot)]
    return slot.turn == name.turn && slot.unit != 0 ? slot.unit : nil
  }
}
