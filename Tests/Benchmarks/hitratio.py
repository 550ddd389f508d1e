"""Which share of requests a cache answers that has room for a quarter of what is asked for."""

import re
import socket
import subprocess

import meters
import peers

OBJECTS, BYTES, MIB, REQUESTS = 20_000, 4096, 20, 400_000
LOAD = {"target": f"/%u/bytes/{BYTES}", "length": BYTES, "variants": OBJECTS, "connections": 16,
        "anonymous": True, "draw": "zipf"}


def octets_used(peer):
    """What its cache takes by its own account; nginx's are the files on disk."""
    if peer.name == "nginx":
        return sum(p.stat().st_size for p in (peer.directory / "cache").rglob("*") if p.is_file())
    if peer.name == "varnish":
        told = subprocess.run(["varnishstat", "-1", "-n", str(peer.directory / "work"),
                               "-f", "SMA.*.g_bytes"], capture_output=True, text=True, check=True)
        return sum(int(line.split()[1]) for line in told.stdout.splitlines())
    if peer.name == "haproxy":
        # Its "available blocks" are also those of objects that it would give up; each is 1 KiB.
        told = ask(peer.directory / "haproxy.sock", b"show cache\n")
        return sum(int(blocks) << 10 for blocks in re.findall(rb"\((\d+) blocks\)", told))
    told = ask(peer.directory / "admin.sock",
               b"GET /metrics HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
    return int(re.search(rb"\nweir_cache_bytes\{[^}]*\} (\d+)", told)[1])


def ask(path, words):
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(10)
        connection.connect(str(path))
        connection.sendall(words)
        return b"".join(iter(lambda: connection.recv(1 << 16), b""))


def measure(name):
    """The share of the second half of the requests that the origin did not see, and the octets
    that the cache uses then."""
    origin = peers.Origin()
    peer = peers.Peer(name, peers.Job(cache=MIB), origin)
    try:
        meters.run_load(peer.port, requests=REQUESTS // 2, **LOAD)
        before = origin.answered()
        meters.run_load(peer.port, requests=REQUESTS // 2, **LOAD)
        missed = origin.answered() - before
        return 1 - missed / (REQUESTS // 2), octets_used(peer)
    finally:
        peer.stop()
        origin.stop()


def section(names):
    lines = ["### Share of hits, Zipf", "",
             f"{OBJECTS:,} objects of {BYTES >> 10} KiB drawn by Zipf's law (n^-0.9), the same "
             f"{REQUESTS // 2:,} requests again after as many that fill it; {MIB} MiB for each. "
             "What is used is what each says of itself, or lies on disk; what Varnish keeps of "
             "each object outside its storage is not in it.",
             "", "| | hits | MiB used | |", "| --- | --- | --- | --- |"]
    ratios = {}
    for name in [n for n in names if n in ("weir", "nginx", "haproxy", "varnish")]:
        ratios[name], used = measure(name)
        over = used > MIB * 1.05 * (1 << 20)
        remark = "beyond its bound, which it enforces later" if over else ""
        lines.append(f"| {name} | {ratios[name]:.3f} | {used / (1 << 20):.1f} | {remark} |")
        if over:
            del ratios[name]
    best = max((r for n, r in ratios.items() if n != "weir"), default=0)
    if "weir" in ratios:
        verdict = "kept" if ratios["weir"] > best else "**not kept**"
        lines += ["", f"weir above the best that keeps within its bound ({best:.3f}): {verdict}."]
    elif "weir" in names:
        lines += ["", "weir is beyond its own bound: **not kept**."]
    return "\n".join(lines) + "\n"
