"""What health checks cost: the CPU time of a proxy that checks 1,000 backends and serves nobody."""

import statistics
import time

import meters
import peers

BACKENDS = 1000
INTERVAL_SECONDS = 2
BUDGET = 0.02

# The request asks for 16 octets; each answer is judged by its status.
JOBS = {
    "HTTP": {"weir": "    health-check GET /bytes/16 interval=2s",
             "haproxy": "    option httpchk\n"
                        "    http-check send meth GET uri /bytes/16 ver HTTP/1.1 hdr Host a\n"
                        "    default-server check inter 2s\n"},
    "TCP": {"weir": "    health-check tcp interval=2s",
            "haproxy": "    default-server check inter 2s\n"},
}


def share_of_a_core(peer, seconds):
    before, began = meters.cpu_seconds(peer.pids()), time.monotonic()
    time.sleep(seconds)
    return (meters.cpu_seconds(peer.pids()) - before) / (time.monotonic() - began)


def alone(name, checks, origin, seconds):
    """Its share with no other proxy on the machine, whose checks would keep its caches cold."""
    peer = peers.Peer(
        name, peers.Job(backends=BACKENDS, connections=1000, checks=checks), origin)
    try:
        # The first round of checks, which all begin at once, and one more.
        time.sleep(2 * INTERVAL_SECONDS + 1)
        return share_of_a_core(peer, seconds)
    finally:
        peer.stop()


def section(names, rounds=5, seconds=8):
    lines = [f"### Health checks of {BACKENDS:,} backends, each every {INTERVAL_SECONDS} s", "",
             f"The share of a core that the whole process takes with nobody to serve, median "
             f"(least–most) of {rounds} interleaved rounds of {seconds} s, each of a process that "
             "runs alone. HAProxy opens a connection for each check, weir one for four of HTTP.",
             "",
             "| check | " + " | ".join(names) + " | weir's budget |",
             "| --- |" + " --- |" * (len(names) + 1)]
    for kind, words in JOBS.items():
        origin = peers.Origin()
        shares = {name: [] for name in names}
        try:
            for _ in range(rounds):
                for name in names:
                    shares[name].append(alone(name, words[name], origin, seconds))
        finally:
            origin.stop()
        cells = [f"{statistics.median(s):.2%} ({min(s):.2%}–{max(s):.2%})"
                 for s in shares.values()]
        if "weir" in shares:
            kept = statistics.median(shares["weir"]) < BUDGET
            cells.append(f"{BUDGET:.0%}: {'kept' if kept else 'NOT kept'}")
        else:
            cells.append("")
        lines.append(f"| {kind} | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"
