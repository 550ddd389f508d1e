import Primitives
import Telemetry
import TestUnitSupport
import Testing

@Suite struct ProxyStatusTests {
  @Test(arguments: [
    ("weir-1", "", 0, "weir-1; error=connection_refused"),
    ("weir", "app-2", 0, "weir; error=connection_refused; next-hop=app-2"),
    (
      "weir", "10.0.0.1:80", 502,
      "weir; error=connection_refused; next-hop=\"10.0.0.1:80\"; received-status=502"
    ),
    ("a/b:c*", "*x", 0, "a/b:c*; error=connection_refused; next-hop=*x"),
    ("1weir", "a b", 0, "\"1weir\"; error=connection_refused; next-hop=\"a b\""),
    ("we\"ir\\", "é\u{1}", 0, "\"we\\\"ir\\\\\"; error=connection_refused; next-hop=\"???\""),
    ("", "", 0, "\"\"; error=connection_refused"),
  ])
  func `names are tokens where they can be, strings otherwise`(
    name: String, nextHop: String, status: Int, expected: String
  ) {
    let name = HeldText(name)
    let nextHop = HeldText(nextHop)
    var bytes = [UInt8](repeating: 0, count: 200)
    let text = bytes.withByteSink { sink in
      sink.appendProxyStatus(
        name: name.view, error: "connection_refused", nextHop: nextHop.view,
        receivedStatus: status)
      return sink.view.string
    }
    #expect(text == expected)
  }
}
