"""What is counted, not timed: memory of idle connections, system calls, instructions."""

import time

import attackers
import checks
import hitratio
import meters
import million
import peers

IDLE = 10000
KEEP_ALIVE = {"target": "/bytes/1024", "length": 1024, "connections": 64}


def idle_memory(names):
    return memory_of_idle(names, "10,000 idle keep-alive connections, each after one request", IDLE)


def idle_tls_memory(names):
    return memory_of_idle(
        names, "2,000 idle TLS connections, each after one request and 3 s", 2000, tls=True)


def memory_of_idle(names, title, wanted, tls=False):
    """Anonymous memory with idle keep-alive connections, each after one request, against the same
    binary with room for 100."""
    lines = [f"### {title}", "",
             "| | idle connections | base MiB (room for 100) | with them MiB | bytes each |",
             "| --- | --- | --- | --- | --- |"]
    for name in names:
        figures = []
        room = peers.room_for(name, IDLE + 2000)
        idle = min(wanted, room - 50)
        for connections, held in ((100, 20), (room, idle)):
            origin = peers.Origin()
            peer = peers.Peer(name, peers.Job(connections=connections, tls=tls), origin)
            load = meters.Load(peer.port, hold=True, connections=held, tls=tls,
                               target="/bytes/1024", length=1024)
            try:
                load.result()
                # Who gives something back does so when nothing has come for a while.
                time.sleep(3 if tls else 0)
                figures.append(meters.anonymous_bytes(peer.pids()))
            finally:
                load.finish()
                peer.stop()
                origin.stop()
        base, full = figures
        lines.append(f"| {name} | {idle:,} | {base / 2**20:.1f} | {full / 2**20:.1f} "
                     f"| {(full - base) / idle:,.0f} |")
    return "\n".join(lines) + "\n"


def system_calls(names):
    return calls_of(names, "System calls per keep-alive request (64 connections)")


def tls_system_calls(names):
    return calls_of(names, "System calls per keep-alive request over TLS (64 connections)", True)


def calls_of(names, title, tls=False, cache=0):
    lines = [f"### {title}", ""]
    load = {**KEEP_ALIVE, "tls": tls, "anonymous": cache > 0}
    for name in names:
        origin = peers.Origin()
        peer = peers.Peer(name, peers.Job(tls=tls, cache=cache), origin)
        try:
            meters.run_load(peer.port, requests=2000, **load)
            calls = meters.system_calls(peer, 2000, 12000, **load)
        finally:
            peer.stop()
            origin.stop()
        ordered = sorted(calls.items(), key=lambda pair: -pair[1])
        lines.append(f"- {name}: " + ", ".join(f"{n} {v:g}" for n, v in ordered))
    return "\n".join(lines) + "\n"


def instructions(names):
    """weir only: callgrind slows a process fifty times, and the peers' figure binds nothing."""
    lines = ["### User-space instructions per keep-alive request (callgrind, weir)", "",
             "| job | instructions |", "| --- | --- |"]
    spread = {"target": "/k%u/bytes/1024", "length": 1024, "variants": 1000, "connections": 64}
    routed = {"target": "/r%u/bytes/1024", "length": 1024, "variants": 10000, "connections": 64}
    for label, job, load in (
            ("1 backend, 1 route", peers.Job(), KEEP_ALIVE),
            ("2 backends, least connections", peers.Job(backends=2), spread),
            ("1,000 backends, least connections", peers.Job(backends=1000), spread),
            ("2 backends, hash", peers.Job(backends=2, balance="hash"), spread),
            ("1,000 backends, hash", peers.Job(backends=1000, balance="hash"), spread),
            ("1 route, 10,000 targets", peers.Job(), routed),
            ("10,000 routes, 10,000 targets", peers.Job(routes=10000), routed)):
        origin = peers.Origin()
        try:
            few = 10000 if job.backends > 100 or job.routes > 100 else 3000
            count = meters.instructions("weir", job, origin, few, few + 10000, **load)
        finally:
            origin.stop()
        lines.append(f"| {label} | {count:,.0f} |")
    return "\n".join(lines) + "\n"


def cache_instructions(names):
    """Hits of one key."""
    lines = ["### User-space instructions per cache hit (callgrind, weir)", "",
             "| job | instructions |", "| --- | --- |"]
    for label, length, logs in (
            ("1 KiB", 1024, True), ("1 KiB, without the access log", 1024, False),
            ("64 KiB", 65536, True)):
        origin = peers.Origin()
        try:
            count = meters.instructions(
                "weir", peers.Job(cache=64, logs=logs), origin, 3000, 13000, anonymous=True,
                target=f"/bytes/{length}", length=length, connections=64)
        finally:
            origin.stop()
        lines.append(f"| {label} | {count:,.0f} |")
    return "\n".join(lines) + "\n"


def cache_system_calls(names):
    names = [n for n in names if n in ("weir", "nginx", "haproxy", "varnish")]
    return calls_of(names, "System calls per cache hit of 1 KiB (64 connections)", cache=64)


def proxies(section):
    """For what the peers that are there for one thing only are not asked."""
    return lambda names: section([n for n in names if n in ("weir", "nginx", "haproxy")])


def sections():
    return {"idle-memory": proxies(idle_memory),
            "idle-tls-memory": proxies(idle_tls_memory),
            "cache-system-calls": cache_system_calls, "cache-instructions": cache_instructions,
            "system-calls": proxies(system_calls),
            "tls-system-calls": proxies(tls_system_calls),
            "instructions": instructions,
            "attackers": attackers.section, **million.sections(), "hit-ratio": hitratio.section,
            "health-checks": lambda names: checks.section(
                [n for n in names if n in ("weir", "haproxy")])}
