/// Everything the tidy tests let pass, in one place, so that each exception is seen in review. An
/// entry that nothing needs any more is an error too.
enum AllowList {
  /// Most lines of a source file, and of a function, and most columns of a line.
  static let maxFileLines = 500
  static let maxFunctionLines = 70
  static let maxColumns = 100

  /// Files of `Sources` that may handle raw pointers: the C edge, and one type for each structure
  /// whose documentation says why its uses are safe.
  static let rawPointerFiles: Set<String> = [
    "Sources/Balancing/FixedTable.swift",
    "Sources/Caching/Eviction/SlotRecords.swift",
    "Sources/Caching/Store/BlockArena.swift",
    "Sources/Caching/Store/CacheShard.swift",
    "Sources/Caching/Store/CacheStore.swift",
    "Sources/Caching/Store/CacheFound.swift",
    "Sources/Caching/Store/ContentChain.swift",
    "Sources/Caching/Store/ShardTable.swift",
    "Sources/Caching/Store/StoredObject.swift",
    "Sources/Caching/Store/TagIndex.swift",
    "Sources/Caching/Store/TagLines.swift",
    "Sources/Daemon/WorkerThreads.swift",
    "Sources/HTTP/FieldName.swift",
    "Sources/HTTP/Fields.swift",
    "Sources/HTTP/MessageHead.swift",
    "Sources/HTTP2/ClientSession.swift",
    "Sources/HTTP2/FieldList.swift",
    "Sources/HTTP2/Session.swift",
    "Sources/HTTP2/SessionCallbacks.swift",
    "Sources/HTTP2/SessionEvent.swift",
    "Sources/HTTP2/SessionMemory.swift",
    "Sources/Primitives/Bytes/BufferPool.swift",
    "Sources/Primitives/Bytes/ByteSink.swift",
    "Sources/Primitives/Bytes/ByteView.swift",
    "Sources/Primitives/Bytes/ByteWriter.swift",
    "Sources/Primitives/Bytes/OutputQueue.swift",
    "Sources/Primitives/Collections/FixedStorage.swift",
    "Sources/Primitives/Collections/GrowingTable.swift",
    "Sources/Primitives/Collections/Slab.swift",
    "Sources/Primitives/Sharing/Lock.swift",
    "Sources/Primitives/Time/TimerWheel.swift",
    "Sources/Proxy/Cache/CacheFetch.swift",
    "Sources/Proxy/Cache/CachePlan.swift",
    "Sources/Proxy/Cache/CacheServing.swift",
    "Sources/Proxy/Cache/CacheStage.swift",
    "Sources/Proxy/Cache/HitServing.swift",
    "Sources/Proxy/Cache/Purging.swift",
    "Sources/Proxy/Downstream/Acceptor.swift",
    "Sources/Proxy/Downstream/DownstreamConnection.swift",
    "Sources/Proxy/Downstream/DownstreamHTTP1.swift",
    "Sources/Proxy/Downstream/DownstreamHTTP2.swift",
    "Sources/Proxy/Downstream/DownstreamTLS.swift",
    "Sources/Proxy/Downstream/DownstreamProxyHeader.swift",
    "Sources/Proxy/Exchange/Attempts.swift",
    "Sources/Proxy/Exchange/Deadline.swift",
    "Sources/Proxy/Exchange/Exchange.swift",
    "Sources/Proxy/Exchange/ExchangeDriver.swift",
    "Sources/Proxy/Exchange/ExchangeEnd.swift",
    "Sources/Proxy/Exchange/ExchangeRecord.swift",
    "Sources/Proxy/Exchange/Fallback.swift",
    "Sources/Proxy/Exchange/Relay.swift",
    "Sources/Proxy/Exchange/Repetition.swift",
    "Sources/Proxy/Exchange/RequestKeys.swift",
    "Sources/Proxy/Exchange/Replay.swift",
    "Sources/Proxy/Exchange/RequestFlow.swift",
    "Sources/Proxy/Exchange/ResponseFlow.swift",
    "Sources/Proxy/Exchange/Stickiness.swift",
    "Sources/Proxy/Exchange/TunnelFlow.swift",
    "Sources/Proxy/SessionFrames.swift",
    "Sources/Proxy/Snapshot.swift",
    "Sources/Proxy/Upstream/BackendPause.swift",
    "Sources/Proxy/Upstream/ConnectionPool.swift",
    "Sources/Proxy/Upstream/HealthProbeFrames.swift",
    "Sources/Proxy/Upstream/UpstreamCarrier.swift",
    "Sources/Proxy/Upstream/UpstreamConnection.swift",
    "Sources/Proxy/Upstream/UpstreamProxyHeader.swift",
    "Sources/Proxy/Upstream/UpstreamHTTP2.swift",
    "Sources/Proxy/Upstream/UpstreamTLS.swift",
    "Sources/Proxy/Worker.swift",
    "Sources/Proxy/WorkerDeadlines.swift",
    "Sources/Routing/Frozen.swift",
    "Sources/Routing/PathRegex.swift",
    "Sources/Routing/RouteConditions.swift",
    "Sources/Routing/RouteMatcher.swift",
    "Sources/Routing/RouteTable.swift",
    "Sources/Routing/SegmentHash.swift",
    "Sources/Telemetry/Logs/LineBuffer.swift",
    "Sources/Telemetry/Logs/LogQueue.swift",
    "Sources/Telemetry/Logs/LogWriter.swift",
    "Sources/Telemetry/Metrics/CellDirectory.swift",
    "Sources/Telemetry/Metrics/Cells.swift",
    "Sources/Transport/EventLoop/Poller.swift",
    "Sources/Transport/Sockets/Resolver.swift",
    "Sources/Transport/Sockets/SocketCalls.swift",
    "Sources/Transport/StreamWire.swift",
    "Sources/Transport/TLS/Credential.swift",
    "Sources/Transport/TLS/SessionTickets.swift",
    "Sources/Transport/TLS/TLSCallbacks.swift",
    "Sources/Transport/TLS/TLSChannel.swift",
    "Sources/Transport/TLS/TLSContext.swift",
    "Sources/Transport/Wire.swift",
  ]

  /// Functions that are one table: `path name`.
  static let longFunctions: Set<String> = []

  /// Files whose `@unchecked Sendable` or `nonisolated(unsafe)` is proven in a comment above it.
  static let uncheckedSendableFiles: Set<String> = [
    "Sources/Caching/Store/BlockArena.swift",
    "Sources/Caching/Store/CacheShard.swift",
    "Sources/Caching/Store/CacheFound.swift",
    "Sources/Caching/Store/ShardTable.swift",
    "Sources/Caching/Store/StoredObject.swift",
    "Sources/Primitives/Collections/FixedStorage.swift",
    "Sources/Primitives/Sharing/Lock.swift",
    "Sources/Proxy/Snapshot.swift",
    "Sources/Routing/Frozen.swift",
    "Sources/Telemetry/Logs/LogQueue.swift",
    "Sources/Telemetry/Metrics/WorkerMetrics.swift",
    "Sources/Transport/TLS/Credential.swift",
    "Sources/Transport/TLS/TLSCallbacks.swift",
    "Sources/Transport/TLS/TLSContext.swift",
    "Tests/Support/Monitor.swift",
    "Tests/Support/TestTLS.swift",
  ]

  /// Modules off the data path, which alone may use Foundation.
  static let foundationModules: Set<String> = ["Admin", "Config", "Daemon", "weir"]

  /// Files that must name what is banned elsewhere.
  static let wordFiles: Set<String> = [
    "Tests/TidyTests/AllowList.swift", "Tests/TidyTests/WordTests.swift",
  ]
}
