#!/usr/bin/env python3
"""Plants faults in a copy of the sources and runs the simulation on each: it must find every one.

    planted.py [SEEDS] [NAME …]

Each fault is one edit of one file. A copy of the tree is built for release with it, and seeds
from 1 on are run until one breaks a rule or traps. Exits with 1 where SEEDS (1,000 unless said) do
not find a fault, where an edit no longer fits its file, or where the sources without any fault
fail.
"""

import pathlib
import re
import shutil
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parents[2]
COPY = ROOT / ".build" / "planted"

# Name: file under Sources, what stands there, what is put in its place.
FAULTS = {
    "a lost wake-up: a body that yields its turn is not queued again": (
        "Proxy/Exchange/ResponseFlow.swift",
        "case .yields: queue(exchange.pointee.upstream, upstream)", "case .yields: break"),
    "a double release: a backend connection stays with its exchange": (
        "Proxy/Exchange/ExchangeEnd.swift",
        "    guard handle != .none else { return }\n    exchange.pointee.upstream = .none\n",
        "    guard handle != .none else { return }\n"),
    "a retry after the first octet of the response": (
        "Proxy/Exchange/ResponseFlow.swift",
        "      abandon(handle, isMalformed ? .responseMalformed : .responseCutShort)",
        "      exchange.pointee.hasAnswered = false\n"
        "      attemptFailed(handle, exchange, isMalformed ? .headMalformed : .backendClosed)"),
    "a lost hand-over: a place in the queue does not reach another worker": (
        "Proxy/Upstream/RequestQueue.swift",
        "    for grant in grants {\n      workers.post(",
        "    for grant in grants where grant.request.worker == 0 {\n      workers.post("),
    "a missed wake-up: readers on other workers do not hear of a fetch": (
        "Proxy/Cache/CacheStage.swift",
        "    for (worker, handles) in others { shared.post(.wake(handles), to: worker) }",
        "    _ = others"),
}


def copy_tree():
    COPY.mkdir(parents=True, exist_ok=True)
    for name in ("Sources", "Tests"):
        # With the times of the files: the next run builds only what has changed.
        shutil.rmtree(COPY / name, ignore_errors=True)
        shutil.copytree(ROOT / name, COPY / name)
    shutil.copy(ROOT / "Package.swift", COPY)


def simulate(seeds):
    """The output of the run, and whether every rule held."""
    command = ["swift", "build", "-c", "release", "--product", "test-simulate"]
    built = subprocess.run(command, cwd=COPY, capture_output=True, text=True)
    if built.returncode != 0:
        sys.exit(f"does not build:\n{built.stdout[-3000:]}")
    run = subprocess.run(
        [str(COPY / ".build" / "release" / "test-simulate"), "1", str(seeds)],
        capture_output=True, text=True, timeout=900)
    return run.stdout + run.stderr, run.returncode == 0


def main():
    words = sys.argv[1:]
    seeds = int(words.pop(0)) if words and words[0].isdigit() else 1000
    copy_tree()
    text, holds = simulate(seeds)
    if not holds:
        sys.exit(f"without any fault:\n{text[-2000:]}")
    print(f"none planted: {text.strip()}", flush=True)
    missed = 0
    for name, (file, before, after) in FAULTS.items():
        if words and not any(word in name for word in words):
            continue
        path = COPY / "Sources" / file
        good = path.read_text()
        if good.count(before) != 1:
            sys.exit(f"{file} has no place for: {name}")
        path.write_text(good.replace(before, after))
        text, holds = simulate(seeds)
        path.write_text(good)
        missed += holds
        told = [line for line in text.splitlines() if re.search(r"\bseed \d+", line)]
        print(f"{'MISSED' if holds else 'found'}: {name}: {(told or [text.strip()])[0][:160]}",
              flush=True)
    sys.exit(1 if missed else 0)


if __name__ == "__main__":
    main()
