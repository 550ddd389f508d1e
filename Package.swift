// swift-tools-version: 6.2
import PackageDescription

// The layers of docs/ARCHITECTURE.md: a target may depend only on targets of a lower layer, and
// the compiler enforces it. `TidyTests` checks this file, the folders and the imports together.

/// Hot code crosses module edges, so release builds inline across them. The dynamic half of
/// exclusivity checking costs a quarter of a request's instructions and finds only what the debug
/// builds, in which all tests run, find too (docs/PERFORMANCE.md).
let inlining: SwiftSetting = .unsafeFlags(
  ["-cross-module-optimization", "-enforce-exclusivity=unchecked"],
  .when(configuration: .release))

/// Modules without a C edge: every unsafe expression must be marked where it stands.
let pure: [SwiftSetting] = [.strictMemorySafety(), .treatAllWarnings(as: .error), inlining]

/// Modules whose purpose is the C edge (system calls, threads, PCRE2): strict memory safety
/// checking would mark nearly every line, so it is off and raw pointers are held to an
/// allow-list of files instead (`TidyTests`).
let edge: [SwiftSetting] = [.treatAllWarnings(as: .error), inlining]

/// Tests are never built for release, but for the simulation, which runs many seeds there.
let testing: [SwiftSetting] = [.treatAllWarnings(as: .error)]

let package = Package(
  name: "weir",
  products: [.executable(name: "weir", targets: ["weir"])],
  dependencies: [
    .package(url: "https://github.com/apple/swift-argument-parser", from: "1.8.2")
  ],
  targets: [
    // Layer 0
    .target(name: "CLinux"),
    .systemLibrary(name: "CPCRE2", pkgConfig: "libpcre2-8", providers: [.apt(["libpcre2-dev"])]),
    .systemLibrary(
      name: "CNghttp2", pkgConfig: "libnghttp2", providers: [.apt(["libnghttp2-dev"])]),
    .systemLibrary(
      name: "COpenSSL", pkgConfig: "openssl", providers: [.apt(["libssl-dev"])]),
    .systemLibrary(name: "CXXHash", providers: [.apt(["libxxhash-dev"])]),
    .systemLibrary(name: "CAres", pkgConfig: "libcares", providers: [.apt(["libc-ares-dev"])]),
    // Layer 1
    .target(name: "Primitives", dependencies: ["CLinux", "CXXHash"], swiftSettings: pure),
    // Layer 2
    .target(name: "HTTP", dependencies: ["CLinux", "Primitives"], swiftSettings: pure),
    .target(name: "Balancing", dependencies: ["Primitives"], swiftSettings: pure),
    .target(name: "Resilience", dependencies: ["Primitives"], swiftSettings: pure),
    .target(name: "Telemetry", dependencies: ["Primitives"], swiftSettings: pure),
    // Layer 3
    .target(name: "HTTP1", dependencies: ["HTTP", "Primitives"], swiftSettings: pure),
    .target(
      name: "HTTP2", dependencies: ["CNghttp2", "HTTP", "Primitives"], swiftSettings: edge),
    .target(name: "Routing", dependencies: ["HTTP", "Primitives", "CPCRE2"], swiftSettings: edge),
    .target(name: "Caching", dependencies: ["HTTP", "Primitives"], swiftSettings: pure),
    // Layer 4
    .target(
      name: "Transport", dependencies: ["CAres", "CLinux", "COpenSSL", "Primitives"],
      swiftSettings: edge),
    // Layer 5
    .target(
      name: "Proxy",
      dependencies: [
        "CLinux", "Primitives", "HTTP", "HTTP1", "HTTP2", "Balancing", "Resilience", "Telemetry",
        "Routing", "Caching", "Transport",
      ],
      swiftSettings: edge),
    // Layer 6
    .target(
      name: "Admin",
      dependencies: [
        "Primitives", "HTTP", "Balancing", "Resilience", "Telemetry", "Caching", "Transport",
        "Proxy",
      ],
      swiftSettings: pure),
    // Layer 7
    .target(
      name: "Config",
      dependencies: [
        "Primitives", "HTTP", "HTTP1", "Balancing", "Resilience", "Telemetry", "Routing",
        "Caching", "Transport", "Proxy",
      ],
      swiftSettings: pure),
    // Layer 8
    .target(
      name: "Daemon",
      dependencies: [
        "CLinux", "Primitives", "HTTP", "HTTP1", "Resilience", "Telemetry", "Routing", "Caching",
        "Transport", "Proxy", "Admin", "Config",
      ],
      swiftSettings: edge),
    // Layer 9
    .executableTarget(
      name: "weir",
      dependencies: [
        "CLinux", "Primitives", "HTTP", "HTTP1", "Transport", "Admin", "Config", "Daemon",
        .product(name: "ArgumentParser", package: "swift-argument-parser"),
      ],
      swiftSettings: edge),
    // What the unit tests of several modules need.
    .target(
      name: "TestUnitSupport", dependencies: ["Primitives"], path: "Tests/UnitSupport",
      swiftSettings: testing),
    // Tests of policy and telemetry
    .testTarget(
      name: "BalancingTests", dependencies: ["Balancing", "Primitives"],
      swiftSettings: [.treatAllWarnings(as: .error)]),
    .testTarget(
      name: "ResilienceTests", dependencies: ["Resilience", "Primitives"],
      swiftSettings: [.treatAllWarnings(as: .error)]),
    .testTarget(
      name: "TelemetryTests", dependencies: ["Telemetry", "Primitives", "TestUnitSupport"],
      swiftSettings: [.treatAllWarnings(as: .error)]),
    // Tests of configuration and routing
    .testTarget(
      name: "RoutingTests", dependencies: ["Routing", "HTTP", "Primitives"],
      swiftSettings: [.treatAllWarnings(as: .error)]),
    .testTarget(
      name: "ConfigTests",
      dependencies: [
        "Config", "Primitives", "HTTP", "Balancing", "Caching", "Resilience", "Telemetry",
        "Routing", "Transport", "Proxy", "TestSupport",
      ],
      swiftSettings: [.treatAllWarnings(as: .error)]),
    // The real daemon on real sockets (docs/TESTING.md).
    .target(
      name: "TestSupport", dependencies: ["CLinux", "CNghttp2", "COpenSSL"],
      path: "Tests/Support",
      swiftSettings: testing),
    .executableTarget(
      name: "test-origin", dependencies: ["TestSupport"], path: "Tests/Origin",
      swiftSettings: testing),
    .testTarget(
      name: "IntegrationTests", dependencies: ["CLinux", "TestSupport"], swiftSettings: testing),
    // The workers in one thread under a clock of its own (docs/decisions/0403).
    .target(
      name: "TestSimulation",
      dependencies: [
        "CNghttp2", "Primitives", "Balancing", "Caching", "Telemetry", "Transport", "Proxy",
        "Config",
      ],
      path: "Tests/Simulation", swiftSettings: testing + [inlining]),
    .executableTarget(
      name: "test-simulate", dependencies: ["TestSimulation"], path: "Tests/Simulate",
      swiftSettings: testing),
    .testTarget(
      name: "SimulationTests", dependencies: ["TestSupport", "test-simulate"],
      swiftSettings: testing),
    .testTarget(name: "TidyTests", swiftSettings: testing),
    .testTarget(name: "BudgetTests", dependencies: ["TestSupport"], swiftSettings: testing),
    // Tests of the admin endpoint
    .testTarget(
      name: "AdminTests",
      dependencies: [
        "Admin", "Primitives", "HTTP", "Balancing", "Caching", "Telemetry", "Routing", "Transport",
        "Proxy",
        "TestSupport",
      ],
      swiftSettings: [.treatAllWarnings(as: .error)]),
    // Tests of the data plane's modules
    .testTarget(
      name: "PrimitivesTests", dependencies: ["CLinux", "Primitives"], swiftSettings: testing),
    .testTarget(
      name: "HTTPTests", dependencies: ["CLinux", "HTTP", "Primitives", "TestUnitSupport"],
      swiftSettings: testing),
    .testTarget(
      name: "CachingTests",
      dependencies: ["Caching", "HTTP", "HTTP1", "Primitives", "TestUnitSupport"],
      swiftSettings: testing),
    .testTarget(
      name: "HTTP1Tests", dependencies: ["HTTP1", "HTTP", "Primitives", "TestUnitSupport"],
      swiftSettings: testing),
    .testTarget(
      name: "HTTP2Tests", dependencies: ["HTTP2", "CNghttp2", "HTTP", "Primitives"],
      swiftSettings: testing),
    .testTarget(
      name: "TransportTests",
      dependencies: ["CLinux", "COpenSSL", "Transport", "Primitives", "TestSupport"],
      swiftSettings: testing),
    .testTarget(
      name: "ProxyTests",
      dependencies: [
        "CLinux", "Proxy", "Transport", "Balancing", "Resilience", "HTTP1", "HTTP", "Primitives",
        "TestUnitSupport",
      ],
      swiftSettings: testing),
  ]
)
