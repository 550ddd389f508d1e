"""Which share of requests a cache answers that has room for a quarter of what is asked for."""

import meters
import peers

OBJECTS, BYTES, MIB, REQUESTS = 20_000, 4096, 20, 400_000
LOAD = {"target": f"/%u/bytes/{BYTES}", "length": BYTES, "variants": OBJECTS, "connections": 16,
        "anonymous": True, "draw": "zipf"}


def measure(name):
    """The share of the second half of the requests that the origin did not see, and the octets on
    disk where there are any."""
    origin = peers.Origin()
    peer = peers.Peer(name, peers.Job(cache=MIB), origin)
    try:
        meters.run_load(peer.port, requests=REQUESTS // 2, **LOAD)
        before = origin.answered()
        meters.run_load(peer.port, requests=REQUESTS // 2, **LOAD)
        missed = origin.answered() - before
        stored = sum(p.stat().st_size for p in (peer.directory / "cache").rglob("*")
                     if p.is_file())
        return 1 - missed / (REQUESTS // 2), stored
    finally:
        peer.stop()
        origin.stop()


def section(names):
    lines = ["### Share of hits, Zipf", "",
             f"{OBJECTS:,} objects of {BYTES >> 10} KiB drawn by Zipf's law (n^-0.9), the same "
             f"{REQUESTS // 2:,} requests again after as many that fill it; {MIB} MiB for each.",
             "", "| | hits | |", "| --- | --- | --- |"]
    ratios = {}
    for name in [n for n in names if n in ("weir", "nginx", "haproxy", "varnish")]:
        ratios[name], stored = measure(name)
        over = stored > MIB * 1.05 * (1 << 20)
        remark = f"holds {stored / (1 << 20):.0f} MiB: its bound is enforced later" if over else ""
        lines.append(f"| {name} | {ratios[name]:.3f} | {remark} |")
        if over:
            del ratios[name]
    best = max((r for n, r in ratios.items() if n != "weir"), default=0)
    if "weir" in ratios:
        verdict = "kept" if ratios["weir"] >= best else "**not kept**"
        lines += ["", f"weir above the best that keeps within its bound ({best:.3f}): {verdict}."]
    return "\n".join(lines) + "\n"
