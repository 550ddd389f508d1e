import Resilience

/// The ends that the data plane knows, by name.
extension Termination {
  // The backend, before a response head
  static var connectRefused: Termination { Termination(.backend, .connecting, .refused) }
  static var connectTimedOut: Termination { Termination(.backend, .connecting, .timedOut) }
  static var connectFailed: Termination { Termination(.backend, .connecting, .unreachable) }
  static var certificateRefused: Termination {
    Termination(.backend, .connecting, .certificateRefused)
  }
  static var handshakeFailed: Termination { Termination(.backend, .connecting, .handshakeFailed) }
  static var backendClosed: Termination { Termination(.backend, .awaiting, .closed) }
  static var backendTimedOut: Termination { Termination(.backend, .awaiting, .timedOut) }
  static var headCutShort: Termination { Termination(.backend, .responseHead, .closed) }
  static var headMalformed: Termination { Termination(.backend, .responseHead, .malformed) }
  static var upgradeFailed: Termination { Termination(.backend, .responseHead, .upgradeFailed) }
  // The backend, within the response
  static var responseCutShort: Termination { Termination(.backend, .responseBody, .closed) }
  static var responseMalformed: Termination { Termination(.backend, .responseBody, .malformed) }
  static var responseStalled: Termination { Termination(.backend, .responseBody, .timedOut) }
  static var tunnelCut: Termination { Termination(.backend, .tunnel, .reset) }
  // The client
  static var clientLeft: Termination { Termination(.client, .responseBody, .closed) }
  static var clientStalled: Termination { Termination(.client, .responseBody, .timedOut) }
  static var requestStalled: Termination { Termination(.client, .requesting, .timedOut) }
  static var requestMalformed: Termination { Termination(.client, .requesting, .malformed) }
  static var requestTooLarge: Termination { Termination(.client, .requesting, .bodyTooLarge) }
  static var headTooLarge: Termination { Termination(.client, .requestHead, .headTooLarge) }
  static var upgradeRefused: Termination { Termination(.client, .requestHead, .upgradeRefused) }
  // weir itself
  static var noRoute: Termination { Termination(.weir, .selecting, .routeNotFound) }
  static var regexLimit: Termination { Termination(.weir, .selecting, .matchLimitExceeded) }
  static var onlyIfCached: Termination { Termination(.weir, .selecting, .notStored) }
  static var allFull: Termination { Termination(.weir, .selecting, .limitReached) }
  static var noBackend: Termination { Termination(.weir, .selecting, .noBackend) }
  static var unresolved: Termination { Termination(.weir, .selecting, .nameUnresolved) }
  static var loop: Termination { Termination(.weir, .selecting, .loopDetected) }
  static var requestTimedOut: Termination { Termination(.weir, .awaiting, .timedOut) }
  static var exhausted: Termination { Termination(.weir, .requesting, .limitReached) }
  static var drained: Termination { Termination(.weir, .responseBody, .draining) }

  /// Status for the log and the counters, also where nobody could be answered; 499, as nginx
  /// writes it, where the client was gone.
  var loggedStatus: Int { status ?? 499 }
}
