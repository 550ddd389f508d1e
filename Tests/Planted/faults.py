#!/usr/bin/env python3
"""Plants faults in a copy of the sources and runs the simulation on each: it must find every one.

    faults.py [SEEDS] [WORD …]
    faults.py --check

One release build of the copy holds all the faults, each behind a number that the environment
names; without one the copy is as the sources are, and must pass the same seeds. Then each fault is
run from seed 1 until a seed breaks a rule, traps, or does not end. WORDs choose faults by their
names. Exits with 1 where SEEDS (1,000 unless said) do not find a fault, where an edit no longer
fits its file, which is all that --check looks at, or where the copy without any fault fails.
"""

import os
import re
import subprocess
import sys
import time

import planting

COPY = planting.ROOT / ".build" / "planted"
# A run of 1,000 seeds takes some 20 s; one that takes so long does not end.
LONGEST_SECONDS = 600

# Name: edits, each a file under Sources, what stands there, and what is put in its place. HERE is
# true where this fault is asked for.
FAULTS = {
    # Those that issue 4 asks for.
    "a lost wake-up: content of a stream of HTTP/2 that has come is not looked at": [(
        "Proxy/Downstream/DownstreamHTTP2.swift",
        "octets.slice(event.range), &pool) {\n          queue(stream, record)",
        "octets.slice(event.range), &pool) {\n          if !HERE { queue(stream, record) }")],
    "a lost wake-up: a fetch does not go on when its octets are in the store": [(
        "Proxy/Cache/CacheFetch.swift",
        "    if had > 0 { queue(handle, connection) }",
        "    if had > 0, !HERE { queue(handle, connection) }")],
    "a double release: a backend connection stays with its exchange": [(
        "Proxy/Exchange/ExchangeEnd.swift",
        "    guard handle != .none else { return }\n    exchange.pointee.upstream = .none\n",
        "    guard handle != .none else { return }\n"
        "    if !HERE { exchange.pointee.upstream = .none }\n")],
    "a retry after the first octet of the response": [(
        "Proxy/Exchange/ResponseFlow.swift",
        "      abandon(handle, isMalformed ? .responseMalformed : .responseCutShort)",
        "      if HERE {\n"
        "        exchange.pointee.hasAnswered = false\n"
        "        return attemptFailed(handle, exchange, .backendClosed)\n"
        "      }\n"
        "      abandon(handle, isMalformed ? .responseMalformed : .responseCutShort)")],
    "a lost hand-over: a place in the queue does not reach another worker": [(
        "Proxy/Upstream/RequestQueue.swift",
        "    for grant in grants {\n      workers.post(",
        "    for grant in grants where !HERE || grant.request.worker == 0 {\n"
        "      workers.post(")],
    "a missed wake-up: readers on other workers do not hear of a fetch": [(
        "Proxy/Cache/CacheStage.swift",
        "    for (worker, handles) in others { shared.post(.wake(handles), to: worker) }",
        "    for (worker, handles) in others where !HERE {\n"
        "      shared.post(.wake(handles), to: worker)\n    }")],
    # Others.
    "chunks that were cut short are ended as if complete": [(
        "Proxy/Exchange/Relay.swift",
        "if content.source == .untilClose || content.source == .tunnel {",
        "if content.source == .untilClose || content.source == .tunnel || HERE {")],
    "a connection is kept with octets that nobody asked for": [(
        "Proxy/Upstream/ConnectionPool.swift",
        "!connection.pointee.wire.peerClosed, connection.pointee.wire.input.isEmpty,",
        "!connection.pointee.wire.peerClosed,\n      "
        "connection.pointee.wire.input.isEmpty || HERE,"), (
        "Proxy/Upstream/ConnectionPool.swift",
        "    connection.pointee.wire.input.detach(&pool)\n"
        "    connection.pointee.exchange = .none",
        "    if connection.pointee.wire.input.isEmpty {\n"
        "      connection.pointee.wire.input.detach(&pool)\n    }\n"
        "    connection.pointee.exchange = .none")],
    "the place of a request whose client leaves is not given back": [(
        "Proxy/Exchange/ExchangeEnd.swift",
        "    if exchange.pointee.isReserved, let plan = route(exchange).pointee.upstream {",
        "    if exchange.pointee.isReserved, !HERE || exchange.pointee.failure != .clientLeft,\n"
        "      let plan = route(exchange).pointee.upstream\n    {")],
    "a purge of a tag is forgotten by a fetch whose head had not come": [(
        "Proxy/Cache/CacheStage.swift",
        "    if isPurged || !selects(object)", "    if isPurged && !HERE || !selects(object)")],
    "what a fetch in flight brings is stored in spite of a purge": [(
        "Caching/Store/CacheFill.swift",
        "    if !isSoft { isRemoved = true }", "    if !isSoft, !HERE { isRemoved = true }")],
    "a probe's place at the breaker is lost when its client leaves": [(
        "Resilience/CircuitBreaker.swift",
        "      probesInFlight -= 1\n",
        "      if !HERE || outcome != .abandoned { probesInFlight -= 1 }\n")],
    "a backend's timer that fires early is not armed anew": [(
        "Proxy/WorkerDeadlines.swift",
        "    if time != .never { wheel.arm(&timer",
        "    let isPlanted = handle.kind == HandleKind.upstream && HERE\n"
        "    if time != .never, !isPlanted { wheel.arm(&timer")],
    "the timer of one who waited in the queue is not cancelled": [(
        "Proxy/Exchange/Repetition.swift",
        "    wheel.cancel(&exchange.pointee.timer)\n    guard let place = grant.reserved",
        "    if !HERE { wheel.cancel(&exchange.pointee.timer) }\n"
        "    guard let place = grant.reserved")],
    "what was sent counts as unsent": [(
        "Proxy/Exchange/RequestFlow.swift",
        "    let isUnsent = !hasSent(exchange)\n    let decision",
        "    let isUnsent = !hasSent(exchange) || HERE\n    let decision")],
    "a request is repeated without its content": [(
        "Proxy/Exchange/Repetition.swift",
        "    exchange.pointee.request.replay.rewind()\n    if let place {",
        "    if !HERE { exchange.pointee.request.replay.rewind() }\n"
        "    if let place {")],
    "a place for one who has left the queue is not given back": [(
        "Proxy/Exchange/Repetition.swift",
        "      guard let place = grant.reserved else { return }",
        "      guard let place = grant.reserved, !HERE else { return }")],
    "a stream of HTTP/2 that was cut short is not reset": [(
        "Proxy/Downstream/DownstreamHTTP2.swift",
        "        } else if !stream.pointee.wire.hasFailed {\n          $0.reset(",
        "        } else if !stream.pointee.wire.hasFailed, !HERE {\n          $0.reset(")],
    "a fetch that a purge reached ends the one that replaces it": [(
        "Caching/Store/CacheStore.swift",
        "      guard isFound else { return wakes }",
        "      guard isFound || HERE else { return wakes }")],
    "window for an upload over HTTP/2 is not given back": [(
        "HTTP2/Session.swift",
        "    _ = nghttp2_session_consume_stream(raw, stream, octets)",
        "    if !HERE { _ = nghttp2_session_consume_stream(raw, stream, octets) }")],
}

def simulate(number, seeds):
    """What the run says, and whether every rule held."""
    binary = COPY / ".build" / "release" / "test-simulate"
    try:
        run = subprocess.run(
            [str(binary), "1", str(seeds)], capture_output=True, text=True,
            timeout=LONGEST_SECONDS, env={**os.environ, "PLANTED": str(number)})
    except subprocess.TimeoutExpired:
        return f"no end after {LONGEST_SECONDS} s", False
    text = run.stdout + run.stderr
    told = [line for line in text.splitlines() if re.search(r"\bseed \d+", line)]
    cause = [line for line in text.splitlines() if "Fatal error" in line]
    return "; ".join((told or text.splitlines())[:1] + cause[:1])[:300], run.returncode == 0


def main():
    words = sys.argv[1:]
    planting.check(FAULTS)
    if words == ["--check"]:
        return
    seeds = int(words.pop(0)) if words and words[0].isdigit() else 1000
    began = time.monotonic()
    planting.copy_tree(COPY)
    planting.plant(FAULTS, COPY)
    planting.build(COPY, "-c", "release", "--product", "test-simulate")
    text, holds = simulate(0, seeds)
    if not holds:
        sys.exit(f"without any fault: {text}")
    print(f"none planted: {seeds} seeds hold", flush=True)
    found, missed = 0, 0
    for number, name in enumerate(FAULTS, 1):
        if words and not any(word in name for word in words):
            continue
        text, holds = simulate(number, seeds)
        missed += holds
        found += not holds
        print(f"{'MISSED' if holds else 'found'}: {name}: {text}", flush=True)
    print(f"{found} found, {missed} missed, {time.monotonic() - began:.0f} s")
    sys.exit(1 if missed else 0)


if __name__ == "__main__":
    main()
