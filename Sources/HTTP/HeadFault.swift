/// Why a message was refused: the status its sender gets, and a sentence for the log.
///
/// Of a request, `status` is the answer before the connection is closed. Of a response it is what
/// the client gets instead: always 502.
public struct HeadFault: Error, BitwiseCopyable, Sendable {
  public let status: Int
  public let reason: StaticString

  public init(_ status: Int, _ reason: StaticString) {
    self.status = status
    self.reason = reason
  }

  public static func bad(_ reason: StaticString) -> HeadFault { HeadFault(400, reason) }
}
