/// Everything one worker counts: made by its thread, written by it alone, read by the admin
/// thread while it runs.
///
/// Routes and backends are known by small ids that are handed out once for the life of the
/// process: the same id is the same route or backend in every worker and every snapshot, and is
/// not given to another while anything may still count on it. Looking one up takes two loads and
/// no lock; the cells appear at the first use.
///
/// `@unchecked Sendable` is sound because all mutable state is in atomic cells and in pointers
/// published with release and read with acquire (`CellDirectory`), and the rule of one writing
/// thread concerns only the truth of the counts.
public final class WorkerMetrics: @unchecked Sendable {
  /// Ids of routes and of backends are below this; what is above shares the last id's cells.
  public static var idLimit: Int { CellDirectory.idLimit }

  private let proxy: Cells
  private let routes: CellDirectory
  private let backends: CellDirectory

  public init() {
    proxy = CellBlock.allocate(ProxyCounter.allCases.count)
    routes = CellDirectory(cellsPerBlock: RouteCells.cellCount)
    backends = CellDirectory(cellsPerBlock: BackendCells.cellCount)
  }

  deinit { CellBlock.free(proxy) }

  // MARK: On the owning thread

  @inline(__always)
  public func add(_ counter: ProxyCounter, _ amount: UInt64 = 1) {
    proxy.add(counter.rawValue, amount)
  }

  /// Counters of a route; the handle is good as long as these metrics exist.
  @inline(__always)
  public func route(_ id: Int) -> RouteCells { RouteCells(cells: routes.block(id)) }

  @inline(__always)
  public func backend(_ id: Int) -> BackendCells { BackendCells(cells: backends.block(id)) }

  // MARK: On any thread

  public func count(_ counter: ProxyCounter) -> UInt64 { proxy.load(counter.rawValue) }

  /// `nil` where this worker has counted nothing for the route.
  public func routeIfUsed(_ id: Int) -> RouteCells? {
    routes.existing(id).map { RouteCells(cells: $0) }
  }

  public func backendIfUsed(_ id: Int) -> BackendCells? {
    backends.existing(id).map { BackendCells(cells: $0) }
  }
}

/// One route's cells on one worker.
public struct RouteCells: BitwiseCopyable {
  static var counterCount: Int { RouteCounter.allCases.count }
  static var cellCount: Int { counterCount + Histogram.cellCount }

  private let cells: Cells

  init(cells: Cells) { self.cells = cells }

  @inline(__always)
  public func add(_ counter: RouteCounter, _ amount: UInt64 = 1) {
    cells.add(counter.rawValue, amount)
  }

  public func count(_ counter: RouteCounter) -> UInt64 { cells.load(counter.rawValue) }

  /// Whole requests, from the complete head to the last octet of the answer.
  @inline(__always)
  public var latency: Histogram {
    Histogram(cells: cells.slice(RouteCells.counterCount, RouteCells.cellCount))
  }
}

/// One backend's cells on one worker.
public struct BackendCells: BitwiseCopyable {
  static var counterCount: Int { BackendCounter.allCases.count }
  static var cellCount: Int { counterCount + Histogram.cellCount }

  private let cells: Cells

  init(cells: Cells) { self.cells = cells }

  @inline(__always)
  public func add(_ counter: BackendCounter, _ amount: UInt64 = 1) {
    cells.add(counter.rawValue, amount)
  }

  public func count(_ counter: BackendCounter) -> UInt64 { cells.load(counter.rawValue) }

  /// Attempts, from the request's first octet to the response's head.
  @inline(__always)
  public var latency: Histogram {
    Histogram(cells: cells.slice(BackendCells.counterCount, BackendCells.cellCount))
  }
}
