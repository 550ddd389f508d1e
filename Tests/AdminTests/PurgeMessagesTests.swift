import Caching
import Proxy
import Testing

@testable import Admin

@Suite struct PurgeMessagesTests {
  private func answer(_ body: String) -> AdminAnswer {
    PurgeBody.answer(Array(body.utf8))
  }

  private func order(_ body: String) -> PurgeOrder? {
    guard case .purge(let order) = answer(body) else { return nil }
    return order
  }

  private func status(_ body: String) -> Int? {
    guard case .response(let response) = answer(body) else { return nil }
    return response.status
  }

  @Test func `the documented form is understood`() {
    let full = order(
      """
      {"tags":["a","b"],"urls":["http://h/x"],"prefix":"http://h/","all":true,"soft":true,
       "dry_run":true,"cache":"main"}
      """)
    var expected = PurgeOrder()
    expected.tags = ["a", "b"]
    expected.urls = ["http://h/x"]
    expected.prefix = "http://h/"
    expected.all = true
    expected.soft = true
    expected.dryRun = true
    expected.cache = "main"
    #expect(full == expected)
    var one = PurgeOrder()
    one.tags = ["a"]
    #expect(
      order(#"{"tags":["a"],"urls":[],"prefix":"","all":false,"soft":false,"dry_run":false}"#)
        == one)
  }

  @Test func `a misspelt field is refused, so that soft never becomes hard`() {
    for body in [
      #"{"tags":["a"],"sfot":true}"#, #"{"tag":["a"]}"#, #"{"tags":"a"}"#, "[]", "", "{",
      #"{"tags":[1]}"#, #"{"all":1}"#,
    ] {
      #expect(status(body) == 400, "\(body)")
    }
  }

  @Test func `a purge of nothing is refused`() {
    for body in ["{}", #"{"tags":[]}"#, #"{"all":false,"soft":true}"#, #"{"prefix":""}"#] {
      #expect(status(body) == 422, "\(body)")
    }
  }

  @Test func `the method PURGE means its tags, else its URL`() {
    func order(_ head: PurgeHead) -> PurgeOrder { head.order }
    let byTag = order(
      PurgeHead(
        target: "/x", host: "h", surrogateKeys: ["a  b\tc", ""], cacheTags: [" d, e ,,f"],
        isSoft: true))
    #expect(byTag.tags == ["a", "b", "c", "d", "e", "f"] && byTag.urls.isEmpty && byTag.soft)
    let byPath = order(PurgeHead(target: "/x?y", host: "h:81"))
    #expect(byPath.urls == ["http://h:81/x?y", "https://h:81/x?y"] && !byPath.soft)
    #expect(order(PurgeHead(target: "https://h/x", host: "i")).urls == ["https://h/x"])
  }

  @Test func `what was done is told with its number`() {
    var result = PurgeResult()
    result.matched = 3
    result.sequence = 7
    var order = PurgeOrder()
    order.soft = true
    let answer = AdminRoutes.purged(order, .success(result), instance: "edge")
    let text = String(decoding: answer.body, as: UTF8.self)
    #expect(answer.status == 200)
    #expect(
      text == #"{"bytes":0,"dry_run":false,"id":"edge-7","matched":3,"sequence":7,"soft":true}"#
        + "\n")
    #expect(
      AdminRoutes.purged(order, .failure(.unknownCache("x")), instance: "e").status == 404)
    #expect(AdminRoutes.purged(order, .failure(.tag("")), instance: "e").status == 422)
  }
}
