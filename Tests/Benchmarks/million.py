"""What a cache costs with a million objects in it: hits, and purges by tag beside Varnish's."""

import http.client
import json
import math
import os
import random
import re
import socket
import statistics
import subprocess
import tempfile
import time

import meters
import peers

FEW, MANY = 10_000, 1_000_000
HOT = 100
MEMBERS = 100
MEMORY_MIB = 2048
OBJECT = {"target": "/tagged/%u/bytes/200", "length": 200, "anonymous": True}


class Filled:
    """A peer whose cache has been asked for `count` objects of ten tags each."""

    def __init__(self, name, count, origin, **more):
        job = peers.Job(cache=MEMORY_MIB, tags=True)
        self.count, self.origin = count, origin
        self.peer = peers.Peer(name, job, origin, **more)
        try:
            self.fill()
        except BaseException:
            self.peer.stop()
            raise

    def fill(self):
        """Asks for every object once."""
        meters.run_load(self.peer.port, requests=self.count, variants=self.count, connections=64,
                        **OBJECT)

    def cpu_of_purges(self, groups):
        """µs for each of these tags, all of whose members have to be there."""
        before = meters.cpu_seconds(self.peer.pids())
        for group in groups:
            matched, _ = self.purge(group)
            if matched != MEMBERS:
                raise meters.InvalidRun(f"{matched} of {MEMBERS} purged")
        return (meters.cpu_seconds(self.peer.pids()) - before) / len(groups) * 1e6

    def cpu_of_hits(self, **load):
        """µs for each; a request that reaches the origin makes the run invalid."""
        asked = self.origin.answered()
        outcome = meters.measured_load(self.peer, **OBJECT, **load)
        if self.origin.answered() > asked:
            raise meters.InvalidRun("a request reached the origin: not everything is stored")
        return outcome["cpu"] / outcome["requests"] * 1e6

    def purge(self, tag):
        """Purges one tag; how many objects the peer says that were, and how long it took, in s."""
        began = time.perf_counter()
        if self.peer.name == "weir":
            connection = http.client.HTTPConnection("localhost", timeout=30)
            connection.sock = socket.socket(socket.AF_UNIX)
            connection.sock.connect(str(self.peer.directory / "admin.sock"))
            connection.request("POST", "/v1/purge", json.dumps({"tags": [tag]}),
                               {"Connection": "close"})
            matched = json.loads(connection.getresponse().read())["matched"]
        else:
            connection = http.client.HTTPConnection("127.0.0.1", self.peer.port, timeout=30)
            connection.request("PURGE", "/", headers={"xkey-purge": tag, "Connection": "close"})
            matched = int(re.search(r"\d+", connection.getresponse().reason)[0])
        taken = time.perf_counter() - began
        connection.close()
        return matched, taken

    def groups(self):
        """Tags of a hundred objects each, in no order, none of them of what is asked for most."""
        numbers = list(range(HOT // MEMBERS, self.count // MEMBERS))
        random.Random(1).shuffle(numbers)
        return [f"g{number}" for number in numbers]


def status_of(port, number):
    """The Cache-Status of one object."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    connection.request("GET", OBJECT["target"].replace("%u", str(number)),
                       headers={"Host": "bench.example.com"})
    answer = connection.getresponse()
    answer.read()
    connection.close()
    return answer.getheader("Cache-Status", "")


def check_exactness(filled, group):
    """The members of a purged group are fetched anew, others are not."""
    number = int(group[1:])
    matched, _ = filled.purge(group)
    members = range(number * MEMBERS, (number + 1) * MEMBERS)
    others = random.Random(2).sample(sorted(set(range(filled.count)) - set(members)), 500)
    hits = sum("; hit" in status_of(filled.peer.port, n) for n in others)
    misses = sum("; hit" not in status_of(filled.peer.port, n) for n in members)
    if (matched, misses, hits) != (MEMBERS, MEMBERS, 500):
        raise meters.InvalidRun(f"{matched} counted, {misses} gone, {hits} of 500 others there")


def ratio_row(what, few, many, budget, digits=2):
    middle = [statistics.median(values) for values in (few, many)]
    ratio = middle[1] / middle[0]
    cells = [f"{m:,.{digits}f} ({min(v):,.{digits}f}–{max(v):,.{digits}f})"
             for m, v in zip(middle, (few, many))]
    verdict = "" if budget is None else f"{budget}: {'kept' if ratio <= budget else '**not kept**'}"
    return f"| {what} | {cells[0]} | {cells[1]} | {ratio:.2f} | {verdict} |"


def section(names, rounds=9, seconds=1, purges=50):
    """weir with few and with many objects."""
    origin = peers.Origin()
    stored = []
    try:
        hot = Filled("weir", HOT, origin)
        stored.append(hot)
        few = Filled("weir", FEW, origin)
        stored.append(few)
        many = Filled("weir", MANY, origin)
        stored.append(many)
        hits = {filled: [] for filled in (hot, many)}
        uniform = {filled: [] for filled in (few, many)}
        purge_cpu = {filled: [] for filled in (few, many)}
        for _ in range(rounds):
            for filled, values in hits.items():
                values.append(filled.cpu_of_hits(seconds=seconds, variants=HOT, connections=64))
            for filled, values in uniform.items():
                values.append(filled.cpu_of_hits(seconds=seconds, variants=filled.count,
                                                 connections=64, draw="uniform"))
        for filled in purge_cpu:
            check_exactness(filled, filled.groups()[0])
        many_groups = many.groups()[1:]
        for _ in range(rounds):
            few.fill()  # what the last round took, too
            purge_cpu[few].append(few.cpu_of_purges(few.groups()[:purges]))
            purge_cpu[many].append(
                many.cpu_of_purges([many_groups.pop() for _ in range(purges)]))
        memory = meters.anonymous_bytes(many.peer.pids()) / (1 << 30)
    finally:
        for filled in stored:
            filled.peer.stop()
        origin.stop()
    lines = [f"### {MANY:,} objects of ten tags each (weir)", "",
             f"Medians of {rounds} interleaved rounds, of {purges} purges; {memory:.2f} GiB. "
             f"A purge is of a tag that {MEMBERS} objects have, and its figure is the whole "
             "process's, the admin endpoint's answer included. One purge of each was looked at: "
             "all members gone, 500 others there.",
             "", "| CPU in µs | with few | with a million | ratio | budget |",
             "| --- | --- | --- | --- | --- |",
             ratio_row(f"a hit, the same {HOT} keys ({HOT} stored)", *hits.values(), 1.1),
             ratio_row(f"a hit, any of all ({FEW:,} stored)", *uniform.values(), None),
             ratio_row(f"a purge of {MEMBERS} ({FEW:,} stored)", *purge_cpu.values(), 1.2, 0)]
    return "\n".join(lines) + "\n"


def instructions_of_hits(count, requests=20_000):
    """Of hits drawn from `count` stored objects; callgrind looks on only once they are stored."""
    stripped = tempfile.NamedTemporaryFile(prefix="weir-stripped-", delete=False).name
    subprocess.run(["strip", "--strip-debug", "-o", stripped, os.environ["WEIR_BINARY"]],
                   check=True)
    wrapper = ["valgrind", "--tool=callgrind", "--instr-atstart=no",
               "--callgrind-out-file=/dev/null"]
    origin = peers.Origin()
    text = ""
    try:
        filled = Filled("weir", count, origin, wrapper=wrapper, binary=stripped)
        try:
            pid = str(filled.peer.process.pid)
            subprocess.run(["callgrind_control", "-i", "on", pid], check=True,
                           stdout=subprocess.DEVNULL)
            filled.cpu_of_hits(requests=requests, variants=count, connections=64, draw="uniform")
        finally:
            text = filled.peer.stop()
    finally:
        origin.stop()
        os.unlink(stripped)
    collected = [int(number) for number in re.findall(r"Collected : (\d+)", text)]
    if not collected:
        raise meters.InvalidRun(f"callgrind said nothing: {text[-500:]}")
    return max(collected) / requests


def instructions(names):
    few, many = (instructions_of_hits(count) for count in (HOT, MANY))
    verdict = "kept" if many <= 1.1 * few else "**not kept**"
    return (f"### User-space instructions per hit, drawn from few and from many (callgrind, weir)\n"
            f"\n| stored | instructions |\n| --- | --- |\n| {HOT} | {few:,.0f} |\n"
            f"| {MANY:,} | {many:,.0f} |\n\nratio **{many / few:.2f}**, budget 1.1: {verdict}.\n")


def percentile(values, share):
    return sorted(values)[min(len(values) - 1, math.ceil(share * len(values)) - 1)]


def rate_of_half_a_core(peer, **load):
    """Requests a second that take half of one."""
    outcome = meters.measured_load(peer, seconds=2, **load)
    return 0.5 / (outcome["cpu"] / outcome["requests"])


def round_of_purges(filled, groups, purges, connections):
    """The share of a core, and how long acknowledgements took at p50 and p99, in µs."""
    peer, taken = filled.peer, []
    hits = dict(OBJECT, variants=HOT, connections=connections)
    load = meters.Load(peer.port, seconds=600, **hits, rate=rate_of_half_a_core(peer, **hits))
    time.sleep(1)
    before, began = meters.cpu_seconds(peer.pids()), time.monotonic()
    for _ in range(purges):
        matched, seconds = filled.purge(groups.pop())
        if matched != MEMBERS:
            raise meters.InvalidRun(f"{peer.name}: {matched} of {MEMBERS} purged")
        taken.append(seconds * 1e6)
        time.sleep(0.005)
    share = (meters.cpu_seconds(peer.pids()) - before) / (time.monotonic() - began)
    if load.process.poll() is not None:
        raise meters.InvalidRun(f"{peer.name}: the load ended before the purges did")
    load.process.kill()
    load.finish()
    return share, percentile(taken, 0.5), percentile(taken, 0.99)


def purges_under_load(names, rounds=7, purges=400, connections=8):
    """How long a purge's acknowledgement takes while clients are served."""
    origin = peers.Origin()
    stored, results = {}, {name: [] for name in names}
    try:
        for name in names:
            stored[name] = Filled(name, MANY, origin)
        groups = {name: filled.groups() for name, filled in stored.items()}
        for _ in range(rounds):
            for name, filled in stored.items():
                results[name].append(round_of_purges(filled, groups[name], purges, connections))
    finally:
        for filled in stored.values():
            filled.peer.stop()
        origin.stop()
    rows = [(name, *(statistics.median(column) for column in zip(*values)))
            for name, values in results.items()]
    by_name = {name: p99 for name, _, _, p99 in rows}
    lines = [f"### Purges of {MEMBERS} of {MANY:,} objects under load", "",
             f"Medians of {rounds} interleaved rounds of {purges}, 5 ms apart, while {connections} "
             "connections ask for what takes half a core of each. Varnish finds them with xkey.",
             "",
             "| | share of a core | p50 µs | p99 µs |", "| --- | --- | --- | --- |"]
    for name, share, p50, p99 in rows:
        all_p99 = [p for _, _, p in results[name]]
        lines.append(f"| {name} | {share:.2f} | {p50:,.0f} | "
                     f"{p99:,.0f} ({min(all_p99):,.0f}–{max(all_p99):,.0f}) |")
    if len(by_name) == 2:
        ratio = by_name["weir"] / by_name["varnish"]
        verdict = "kept" if ratio <= 1 else "**not kept**"
        lines += ["", f"p99 to Varnish's: **{ratio:.2f}**, budget 1.0: {verdict}."]
    return "\n".join(lines) + "\n"


def sections():
    return {"million": section, "million-instructions": instructions,
            "purges": lambda names: purges_under_load(
                [n for n in names if n in ("weir", "varnish")])}
