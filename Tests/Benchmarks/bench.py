#!/usr/bin/env python3
"""weir beside nginx and HAProxy: the same load on the same job, in interleaved rounds.

The main figure is the CPU time (user and system) that the proxy itself spends on a request, with
the proxy alone on cpu 0 and load and origin on cpu 1. Every octet is compared; one error makes
the whole run invalid.
"""

import argparse
import datetime
import os
import resource
import statistics
import sys

import counts
import meters
import peers
import scenarios


def figure(scenario, outcome):
    """CPU per unit: µs a request, or seconds a GiB."""
    if scenario.unit == "GiB":
        return outcome["cpu"] / (outcome["octets"] / (1 << 30))
    return outcome["cpu"] / outcome["requests"] * 1e6


def measure(scenario, rounds, seconds):
    """All variants of one scenario, interleaved; a list of outcomes for each label."""
    speaks_http2 = any(variant.job.http2_backends for variant in scenario.variants)
    origin = peers.StreamOrigin() if speaks_http2 else peers.Origin()
    started = []
    try:
        for variant in scenario.variants:
            started.append((variant, peers.Peer(variant.peer, variant.job, origin, variant.cpus)))
        for variant, peer in started:
            meters.run_load(peer.port, requests=scenario.warm_requests, **scenario.load)
        outcomes = {variant.label: [] for variant in scenario.variants}
        for number in range(rounds):
            # Rotated, so that no peer always runs right after the same other one.
            order = started[number % len(started):] + started[:number % len(started)]
            for variant, peer in order:
                asked = origin.answered() if scenario.hits_only else 0
                outcome = meters.measured_load(
                    peer, cpus=variant.load_cpus, seconds=seconds, **scenario.load)
                if scenario.hits_only and origin.answered() > asked:
                    raise meters.InvalidRun(f"{variant.label} did not answer from its cache")
                outcome["figure"] = figure(scenario, outcome)
                outcomes[variant.label].append(outcome)
                print(f"  {scenario.name} round {number + 1} {variant.label}: "
                      f"{outcome['figure']:.3f}", file=sys.stderr)
        return outcomes
    finally:
        for _, peer in started:
            peer.stop()
        origin.stop()


def spread_cell(values):
    middle = statistics.median(values)
    digits = 3 if middle < 1 else 2 if middle < 100 else 0
    return f"{middle:.{digits}f} ({min(values):.{digits}f}–{max(values):.{digits}f})"


def table(scenario, outcomes):
    unit = "CPU s per GiB" if scenario.unit == "GiB" else "CPU µs per request"
    medians = {k: statistics.median(o["figure"] for o in v) for k, v in outcomes.items()}
    first = scenario.variants[0].label
    lines = [f"### {scenario.title}", "",
             f"| | {unit}: median (min–max) | to {first} | user share | requests/s | p50 µs "
             "| p99 µs |", "| --- | --- | --- | --- | --- | --- | --- |"]
    for label, runs in outcomes.items():
        rate = statistics.median(o["requests"] / o["seconds"] for o in runs)
        lines.append(
            f"| {label} | {spread_cell([o['figure'] for o in runs])} "
            f"| {medians[label] / medians[first]:.2f} "
            f"| {statistics.median(o['user_share'] for o in runs):.0%} | {rate:,.0f} "
            f"| {statistics.median(o['p50_us'] for o in runs):,.0f} "
            f"| {statistics.median(o['p99_us'] for o in runs):,.0f} |")
    others = [m for label, m in medians.items() if label != "weir"]
    if scenario.budget is not None and "weir" in medians and others:
        ratio = medians["weir"] / min(others)
        verdict = "kept" if ratio <= scenario.budget else "NOT kept"
        lines += ["", f"weir to the better peer: **{ratio:.2f}**, budget {scenario.budget}: "
                  f"{verdict}."]
    if scenario.growth_budget is not None:
        lines += ["", growth_verdict(scenario, outcomes)]
    return "\n".join(lines) + "\n"


def growth_verdict(scenario, outcomes):
    """The cost of the large job over that of the small one, round by round, for each peer."""
    growth = {}
    for small, large in zip(scenario.variants[::2], scenario.variants[1::2]):
        growth[small.peer] = [
            after["figure"] / before["figure"]
            for before, after in zip(outcomes[small.label], outcomes[large.label])]
    text = "growth round by round: " + ", ".join(
        f"{name} **{statistics.median(r):.2f}** ({min(r):.2f}–{max(r):.2f})"
        for name, r in growth.items())
    others = [statistics.median(r) for name, r in growth.items() if name != "weir"]
    if "weir" not in growth or not others:
        return text + "."
    limit = min(others) * scenario.growth_budget
    verdict = "kept" if statistics.median(growth["weir"]) <= limit else "NOT kept"
    return f"{text}; budget {scenario.growth_budget} of the other's, {limit:.2f}: {verdict}."


def heading(arguments, names):
    versions = ", ".join(f"{n} {peers.version(n)}" for n in names)
    cpu = next((line.split(":")[1].strip() for line in open("/proc/cpuinfo")
                if line.startswith("model name")), "unknown processor")
    return (f"{datetime.date.today()}; {versions}; Linux {os.uname().release}; {cpu}, "
            f"{os.cpu_count()} CPUs; {arguments.rounds} interleaved rounds of "
            f"{arguments.seconds:g} s.\n")


def replace_sections(page, sections, of_this_run):
    """Puts `sections` in the place of those with the same titles, each with its own heading; new
    ones behind all others."""
    for section in sections:
        title, rest = section.split("\n", 1)
        start = page.find(title + "\n")
        start = len(page) if start < 0 else start
        end = page.find("\n### ", start)
        end = len(page) if end < 0 else end + 1
        page = page[:start] + f"{title}\n\n{of_this_run}{rest}\n" + page[end:]
    return page


def write_between_markers(path, sections, of_this_run, is_whole):
    begin, end = "<!-- bench: begin -->\n", "<!-- bench: end -->\n"
    page = open(path).read()
    if begin not in page or end not in page:
        sys.exit(f"{path} has no markers {begin.strip()} and {end.strip()}")
    before, rest = page.split(begin, 1)
    after = rest.split(end, 1)[1]
    page = rest.split(end, 1)[0]
    if is_whole:
        page = "\n" + "\n".join([of_this_run, *sections]) + "\n"
    else:
        page = replace_sections(page, sections, of_this_run)
    open(path, "w").write(before + begin + page + end + after)


def parse_arguments():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="keep-alive only, 2 rounds of 2 s")
    parser.add_argument("--rounds", type=int)
    parser.add_argument("--seconds", type=float)
    parser.add_argument("--only", help="scenario names, separated by commas")
    parser.add_argument("--peers", default="weir,nginx,haproxy,varnish,nghttpx,h2o")
    parser.add_argument("--write", help="a page with markers to put the tables into; with --only "
                        "they take the place of those with the same titles")
    arguments = parser.parse_args()
    arguments.rounds = arguments.rounds or (2 if arguments.quick else 5)
    arguments.seconds = arguments.seconds or (2 if arguments.quick else 4)
    if arguments.quick and not arguments.only:
        arguments.only = "keep-alive"
    return arguments


def raise_descriptor_limit(wanted=65536):
    """As far as allowed: thousands of connections, two descriptors each."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, max(hard, wanted)))
    except (OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def main():
    arguments = parse_arguments()
    raise_descriptor_limit()
    names = arguments.peers.split(",")
    wanted = arguments.only.split(",") if arguments.only else None
    text = []
    try:
        for scenario in scenarios.all_scenarios():
            scenario.variants = [v for v in scenario.variants if v.peer in names]
            if (wanted is None or scenario.name in wanted) and scenario.variants:
                rounds = arguments.rounds * scenario.rounds_factor
                outcomes = measure(scenario, rounds, arguments.seconds)
                text.append(table(scenario, outcomes))
        for name, section in counts.sections().items():
            if (wanted is None or name in wanted) and not (arguments.quick and wanted is None):
                text.append(section(names))
    except meters.InvalidRun as error:
        sys.exit(f"invalid run: {error}")
    of_this_run = heading(arguments, names)
    print("\n".join([of_this_run, *text]))
    if arguments.write:
        write_between_markers(arguments.write, text, of_this_run, is_whole=wanted is None)


if __name__ == "__main__":
    main()
