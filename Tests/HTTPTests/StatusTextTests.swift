import HTTP
import Primitives
import Testing

@Suite struct `A reason phrase` {
  @Test func `is there for every status, and made of bytes that may stand in a status line`() {
    for status in 100...599 {
      let reason = ByteView(StatusText.reason(status))
      #expect(reason.count > 0 && reason.endOfFieldValue(from: 0) == reason.count)
    }
  }

  @Test(arguments: [
    (200, "OK"), (400, "Bad Request"), (408, "Request Timeout"), (413, "Content Too Large"),
    (414, "URI Too Long"), (431, "Request Header Fields Too Large"), (502, "Bad Gateway"),
    (503, "Service Unavailable"), (504, "Gateway Timeout"), (505, "HTTP Version Not Supported"),
  ])
  func `is the registered one`(status: Int, reason: String) {
    #expect(ByteView(StatusText.reason(status)).string == reason)
  }
}
