/// What the clients asked, what the backends did, and what may therefore be seen: the rules that a
/// run must keep. Nothing else in the simulation judges.
struct Ledger {
  struct Request {
    var method: String
    var object: Int?
    var length: Int
    /// The oldest version of its object that it may be answered with.
    var leastVersion = 0
    /// Times that a backend has read its head.
    var attempts = 0
    var isBegun = false
    /// With how much of its content a backend has seen it.
    var isAnswered = false
  }

  struct Response {
    var request: Int
    var object: Int?
    var version = 0
    var status: Int
    var length: Int
    /// Every octet was given to the kernel, and no fault was put in.
    var isWhole = false
  }

  private(set) var requests: [Request] = []
  private(set) var responses: [Response] = []
  /// What is published of each object, and what everybody must see at least.
  private(set) var versions: [Int]
  private(set) var leastVersions: [Int]
  private(set) var violations: [String] = []
  /// For the summary.
  var counts = Counts()
  let mostAttempts: Int

  init(objects: Int, mostAttempts: Int) {
    versions = [Int](repeating: 1, count: objects)
    leastVersions = versions
    self.mostAttempts = mostAttempts
  }

  mutating func violated(_ rule: String) {
    if violations.count < 20 { violations.append(rule) }
  }

  // MARK: Objects

  mutating func publish(_ object: Int) { versions[object] += 1 }

  /// Nobody who asks from now on may see less than `version`.
  mutating func mustSee(_ object: Int, _ version: Int) {
    leastVersions[object] = max(leastVersions[object], version)
  }

  // MARK: Requests

  mutating func add(_ method: String, object: Int?, length: Int) -> Int {
    requests.append(Request(method: method, object: object, length: length))
    return requests.count - 1
  }

  /// Its first octet is sent.
  mutating func begin(_ request: Int) {
    guard !requests[request].isBegun else { return }
    requests[request].isBegun = true
    if let object = requests[request].object {
      requests[request].leastVersion = leastVersions[object]
    }
  }

  /// A backend has received its head.
  mutating func attempt(_ request: Int, method: String, by backend: String) {
    guard requests.indices.contains(request), requests[request].isBegun else {
      return violated("backend \(backend) got request \(request), which nobody sent")
    }
    requests[request].attempts += 1
    let known = requests[request]
    // What the cache fetches for a HEAD may be a GET.
    if known.method != method, known.method != "HEAD" {
      violated("request \(request): \(known.method) became \(method)")
    }
    if known.method == "POST", known.attempts > 1 {
      violated("request \(request): a POST reached a backend \(known.attempts) times")
    }
    // The cache may fetch more than once for one request: after a purge, or in the background.
    if known.attempts > mostAttempts {
      violated("request \(request): \(known.attempts) attempts, allowed are \(mostAttempts)")
    }
  }

  // MARK: Responses

  mutating func respond(_ response: Response) -> Int {
    responses.append(response)
    return responses.count - 1
  }

  mutating func changed(_ response: Int, to version: Int) {
    responses[response].version = version
  }

  mutating func endedEarly(_ response: Int, by octets: Int) {
    responses[response].length = max(0, responses[response].length - octets)
    responses[response].isWhole = true
  }

  mutating func sentWhole(_ response: Int) { responses[response].isWhole = true }

  /// The head of an answer from a backend has reached the client of `request`.
  mutating func head(_ serial: Int, status: Int, for request: Int) {
    guard responses.indices.contains(serial) else {
      return violated("request \(request): an answer \(serial) that no backend gave")
    }
    let response = responses[serial]
    if response.status != status {
      violated("request \(request): status \(response.status) became \(status)")
    }
    guard let object = requests[request].object else {
      if response.request != request {
        violated("request \(request) got the answer to request \(response.request)")
      }
      return
    }
    if response.object != object {
      violated("request \(request) for object \(object) got object \(response.object ?? -1)")
    }
    if response.version < requests[request].leastVersion, status == 200 {
      violated(
        "request \(request): object \(object) at version \(response.version), though "
          + "\(requests[request].leastVersion) was published and acknowledged before")
    }
  }

  mutating func complete(_ serial: Int, octets: Int, for request: Int, hasContent: Bool) {
    guard responses.indices.contains(serial) else { return }
    let response = responses[serial]
    if hasContent, octets != response.length {
      violated("request \(request): \(octets) octets of \(response.length) passed as complete")
    }
    if hasContent, !response.isWhole, response.length > 0 {
      violated("request \(request): answer \(serial), cut short, passed as complete")
    }
  }
}
