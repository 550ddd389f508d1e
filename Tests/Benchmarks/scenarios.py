"""What is measured: each scenario is one load on the same job for every peer."""

import dataclasses

import peers

MIB = 1 << 20


@dataclasses.dataclass
class Variant:
    """One column entry: a peer with a job, under a label."""

    label: str
    peer: str
    job: peers.Job
    cpus: str | None = "0"
    load_cpus: str | None = "1"


@dataclasses.dataclass
class Scenario:
    name: str
    title: str
    load: dict
    variants: list
    # "request": µs of CPU per request; "GiB": CPU seconds per GiB of content.
    unit: str = "request"
    warm_requests: int = 2000
    # Every answer must come out of the peer's own cache; the backend counts.
    hits_only: bool = False
    # The variant whose ratio to the best other peer is the budget, and the budget.
    budget: float | None = None
    # Variants come in pairs, a small job and a large one: weir's growth from one to the other may
    # be this many times the other peer's. A ratio of ratios needs more rounds.
    growth_budget: float | None = None
    rounds_factor: int = 1


def trio(**job):
    return [Variant(n, n, peers.Job(**job)) for n in ("weir", "nginx", "haproxy")]


def caches(**job):
    return [Variant(n, n, peers.Job(**job)) for n in ("weir", "nginx", "haproxy", "varnish")]


def streams(*names, **job):
    return [Variant(n, n, peers.Job(http2=True, **job)) for n in ("weir", *names)]


def growth(peer_names, small, large, **common):
    variants = []
    for name in peer_names:
        for what, job in (small, large):
            variants.append(Variant(f"{name}, {what}", name, peers.Job(**job, **common)))
    return variants


def get(length, target="", **more):
    return {"target": f"{target}/bytes/{length}", "length": length, **more}


def all_scenarios():
    multiplexed = get(1024, http2=True, connections=16, streams=32)
    thousand = {"variants": 1000, "target": "/k%u/bytes/1024", "length": 1024}
    much = {"growth_budget": 1.1, "rounds_factor": 3}
    return [
        Scenario("keep-alive", "keep-alive GET, 1 KiB, 64 connections", get(1024), trio(),
                 budget=0.8),
        Scenario("new-connections", "a new client connection per request, 1 KiB",
                 get(1024, new_connections=True), trio(), budget=0.9),
        Scenario("tls-keep-alive", "TLS 1.3, keep-alive GET, 1 KiB, 64 connections",
                 get(1024, tls=True), trio(tls=True), budget=0.9),
        Scenario("tls-handshakes", "a full TLS 1.3 handshake (ECDSA P-256) and one request, 1 KiB",
                 get(1024, tls=True, new_connections=True), trio(tls=True), budget=1.05,
                 warm_requests=500),
        Scenario("http2-tls", "HTTP/2 in TLS 1.3 to HTTP/1, 1 KiB, 16 connections of 32 streams",
                 {**multiplexed, "tls": True},
                 streams("nginx", "haproxy", "nghttpx", "h2o", tls=True), budget=0.9),
        Scenario("http2", "HTTP/2 without TLS to HTTP/1, 1 KiB, 16 connections of 32 streams",
                 multiplexed, streams("nginx", "haproxy", "nghttpx", "h2o"), budget=0.9),
        Scenario("http2-both", "HTTP/2 to HTTP/2, without TLS, 1 KiB, 16 connections of 32 streams",
                 multiplexed, streams("haproxy", "nghttpx", http2_backends=True), budget=1.0),
        Scenario("responses-1m", "1 MiB responses", get(MIB), trio(), unit="GiB",
                 warm_requests=200, budget=1.0),
        Scenario("responses-10m", "10 MiB responses", get(10 * MIB), trio(), unit="GiB",
                 warm_requests=100, budget=1.0),
        Scenario("uploads", "1 MiB uploads", {"target": "/upload", "put": MIB}, trio(),
                 warm_requests=200, budget=1.0),
        Scenario("cache-1k", "cache hits, 1 KiB, 64 connections", get(1024, anonymous=True),
                 caches(cache=64), budget=0.9, hits_only=True),
        Scenario("cache-64k", "cache hits, 64 KiB, 64 connections",
                 get(64 << 10, anonymous=True), caches(cache=64), budget=1.0, hits_only=True),
        Scenario("workers", "1 and 2 workers, both CPUs shared with the load", get(1024),
                 [Variant(f"weir, {n} worker{'s' * (n > 1)}", "weir", peers.Job(workers=n),
                          cpus=None, load_cpus=None) for n in (1, 2)]),
        Scenario("backends", "2 and 1,000 backends, least connections", thousand,
                 growth(("weir", "haproxy"), ("2", {"backends": 2}),
                        ("1,000", {"backends": 1000})), warm_requests=20000, **much),
        Scenario("backends-hash", "2 and 1,000 backends, hash of the path", thousand,
                 growth(("weir", "haproxy"), ("2", {"backends": 2}),
                        ("1,000", {"backends": 1000}), balance="hash"), warm_requests=20000,
                 **much),
        Scenario("routes", "1 and 10,000 routes",
                 {"variants": 10000, "target": "/r%u/bytes/1024", "length": 1024},
                 growth(("weir", "haproxy"), ("1", {}), ("10,000", {"routes": 10000})),
                 warm_requests=20000, **much),
    ]
