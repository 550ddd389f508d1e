/// What an actor of a run is given.
struct Role {
  let name: String
  /// Of the socket that it listens at, or connects to.
  let path: String
  let faults: Faults
  var random: Draw
}
