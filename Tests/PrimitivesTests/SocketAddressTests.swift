import Primitives
import Testing

@Suite struct `A socket address` {
  @Test(arguments: [
    ("127.0.0.1:80", "127.0.0.1:80"), ("[::1]:65535", "[::1]:65535"), (":8080", "[::]:8080"),
    ("[2001:DB8::1]:1", "[2001:db8::1]:1"), ("unix:/run/a.sock", "unix:/run/a.sock"),
    ("[::ffff:1.2.3.4]:5", "1.2.3.4:5"), ("0.0.0.0:1", "0.0.0.0:1"),
  ])
  func `is read and written in one form`(text: String, written: String) {
    #expect(SocketAddress(text)?.description == written)
    #expect(SocketAddress(written) == SocketAddress(text))
  }

  @Test(arguments: [
    "", ":", "127.0.0.1", "127.0.0.1:", "127.0.0.1:0", "127.0.0.1:65536", "127.0.0.1:+80",
    "127.0.0.1: 80", "127.0.0.1:80 ", "127.0.0.1:8o", "::1:80", "::1", "[::1]", "[::1]:", "[::1]80",
    "[127.0.0.1]:80", "[]:80", "[::1:80", "::1]:80", "[[::1]]:80", "localhost:80", "unix:",
    "unix:run/a", "unix: /a", "1.2.3.4:80:90", "1.2.3.4:\u{661}",
  ])
  func `is refused unless it has an address and a port`(text: String) {
    #expect(SocketAddress(text) == nil)
  }

  @Test func `a path may have 107 bytes, which is what the kernel takes`() {
    let fits = "/" + String(repeating: "a", count: 106)
    #expect(SocketAddress("unix:" + fits) == .unix(path: fits))
    #expect(SocketAddress("unix:" + fits + "a") == nil)
    #expect(SocketAddress("unix:/" + String(repeating: "é", count: 54)) == nil)
  }
}
