import Testing

@testable import Admin

@Suite struct BearerTokenTests {
  private let token = "0123456789abcdef"

  @Test(arguments: [
    (["Bearer 0123456789abcdef"], true),
    (["bearer 0123456789abcdef"], true),
    (["BEARER   0123456789abcdef"], true),
    ([], false),
    ([""], false),
    (["Bearer"], false),
    (["Bearer "], false),
    (["Bearer\t0123456789abcdef"], false),
    (["Bearer0123456789abcdef"], false),
    (["Basic 0123456789abcdef"], false),
    (["0123456789abcdef"], false),
    (["Bearer 0123456789abcdeF"], false),
    (["Bearer 0123456789abcde"], false),
    (["Bearer 0123456789abcdef0"], false),
    (["Bearer 0123456789abcdef "], false),
    (["Bearer 0123456789abcdef, Bearer 0123456789abcdef"], false),
    // Two fields are no credentials: who reads the first is fooled by who reads the last.
    (["Bearer 0123456789abcdef", "Bearer 0123456789abcdef"], false),
  ])
  func `exactly one field with exactly the token`(fields: [String], isAccepted: Bool) {
    #expect(BearerToken.isAccepted(fields, token: token) == isAccepted)
  }
}
