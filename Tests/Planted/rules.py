#!/usr/bin/env python3
"""Switches weir's rules off, one by one, and runs the tests that hold them: each must fail.

    rules.py [--list NAME] [--jobs N] [--no-build] [WORD …]
    rules.py --check

The rules are those of the tables in docs/HTTP2.md and docs/CACHING.md; the lists of what is
switched off stand in rules_*.py beside this file (see planting.py for their edits). All are in one
debug build of a copy of the sources. Without anything switched off all tests that the lists name
must pass; then, for each rule, each test under "fails" must fail, and where a text stands behind
" | " it must be in what that test printed: the case of the table. A test that does not end within
a bound counts as failed, a crash of the daemon does not. WORDs choose rules by their names.
Exits with 1 where a test does not fail, or where a test that a table names is held by no rule and
not in CANNOT, which says why.
"""

import argparse
import concurrent.futures
import importlib
import os
import pathlib
import re
import signal
import subprocess
import sys
import time

import planting

COPY = planting.ROOT / ".build" / "rules"
LISTS = ["rules_http2", "rules_caching"]
LONGEST_SECONDS = 90


def load(names):
    rules, cannot = {}, {}
    for name in names:
        module = importlib.import_module(name)
        for rule, entry in module.RULES.items():
            if rule in rules:
                sys.exit(f"{name}: there are two of: {rule}")
            rules[rule] = entry
        cannot.update(getattr(module, "CANNOT", {}))
    return rules, cannot


def wanted(rule):
    """Name of test and text of its case, or None, for each that must fail."""
    return [tuple(part.strip() for part in each.split(" | ", 1)) if " | " in each
            else (each, None) for each in rule["fails"]]


def names_of_tests():
    return {
        name for path in (COPY / "Tests").glob("*Tests/*.swift")
        for name in re.findall(r"func `([^`]+)`", path.read_text())}


class Run:
    """One run of some tests with a rule switched off: what each of them printed."""

    def __init__(self, number, tests):
        binary = COPY / ".build/debug/weirPackageTests.xctest"
        filters = [word for test in sorted(tests) for word in ("--filter", f"`{re.escape(test)}`")]
        # A session of its own: what a test leaves behind where it is ended goes with it.
        process = subprocess.Popen(
            [str(binary), "--testing-library", "swift-testing", *filters], cwd=COPY,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True,
            env={**os.environ, "PLANTED": str(number), "SWIFT_BACKTRACE": "enable=no"})
        self.ended = True
        try:
            output, _ = process.communicate(timeout=LONGEST_SECONDS)
        except subprocess.TimeoutExpired:
            self.ended = False
            os.killpg(process.pid, signal.SIGKILL)
            output, _ = process.communicate()
        self.output = output.decode(errors="replace")
        self.status = process.returncode

    def text(self, test):
        """All that says something of this test, with the comments behind it."""
        lines, isOurs = [], False
        for line in self.output.splitlines():
            if re.match(r"^\S+ (Test|Suite) ", line):
                isOurs = f'"{test}"' in line
            if isOurs:
                lines.append(line)
        return "\n".join(lines)

    def failed(self, test):
        text = self.text(test)
        if " recorded an issue" in text or " failed after " in text:
            return True
        return " started." in text and not self.ended and not self.passed(test)

    def passed(self, test):
        text = self.text(test)
        return " passed after " in text and " failed after " not in text


def judge(number, rule):
    """What is not as it should be; empty: every test failed."""
    run = Run(number, {test for test, _ in wanted(rule)})
    wrong = []
    for test, case in wanted(rule):
        if not run.failed(test):
            wrong.append(f"`{test}` " + ("passes" if run.passed(test) else "did not run"))
        elif case and run.ended and case not in run.text(test):
            wrong.append(f"`{test}` fails, but not with {case!r}")
    if "Fatal error" in run.output or "the daemon crashed" in run.output:
        wrong.append("something crashed")
    return wrong, run


def in_tables(lists, known):
    """The tests that the tables of the documents name, in full or up to an ellipsis."""
    names = set()
    if "rules_http2" in lists:
        for cells in rows("docs/HTTP2.md", "# RFC 9113"):
            names.update(re.findall(r"`([^`]+)`", cells[-1]))
    if "rules_caching" in lists:
        for cells in rows("docs/CACHING.md", "## The rules", "## Ranges"):
            names.update(re.findall(r"\*([^*]+)\*", " ".join(cells[-2:])))
    found = set()
    for name in names:
        start = name.rstrip("…").rstrip(" ,")
        whole = {test for test in known if test == name or name != start
                 and test.startswith(start)}
        if not whole:
            sys.exit(f"a table names a test that is not there: {name}")
        found |= whole
    return found


def rows(file, begin, end=None):
    """The last cells of each row of the tables between two headings."""
    text = (planting.ROOT / file).read_text().split(f"{begin}", 1)[1]
    text = text.split(f"\n{end}", 1)[0] if end else text
    lines = [line for line in text.splitlines() if line.startswith("|")]
    return [line.strip("| ").split(" | ") for line in lines if not re.match(r"^[|\s-]+$", line)]


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--list", action="append")
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--check", action="store_true")
    parser.add_argument("--no-build", action="store_true")
    parser.add_argument("--show", action="store_true", help="what tests print that do not fail")
    parser.add_argument("words", nargs="*")
    options = parser.parse_args()
    lists = options.list or LISTS
    rules, cannot = load(lists)
    edits = {name: rule["edits"] for name, rule in rules.items()}
    planting.check(edits)
    if options.check:
        return
    began = time.monotonic()
    if not options.no_build:
        planting.copy_tree(COPY)
        planting.plant(edits, COPY)
        planting.build(COPY, "--build-tests")
    sys.exit(prove(rules, cannot, lists, options, began))


def prove(rules, cannot, lists, options, began):
    chosen = {
        name: (number, rule) for number, (name, rule) in enumerate(rules.items(), 1)
        if not options.words or any(word in name for word in options.words)}
    tests = {test for _, rule in chosen.values() for test, _ in wanted(rule)}
    if unknown := tests - names_of_tests():
        sys.exit(f"no such tests: {', '.join(sorted(unknown))}")
    whole = Run(0, tests)
    if bad := sorted(test for test in tests if not whole.passed(test)):
        print(whole.output[-3000:])
        sys.exit(f"with every rule on these do not pass: {', '.join(bad)}")
    print(f"every rule on: {len(tests)} tests pass", flush=True)
    survived = 0
    with concurrent.futures.ThreadPoolExecutor(options.jobs) as pool:
        running = {name: pool.submit(judge, *entry) for name, entry in chosen.items()}
        for name, future in running.items():
            wrong, run = future.result()
            survived += bool(wrong)
            print(f"{'HOLDS' if wrong else 'fails'}: {name}"
                  + "".join(f"\n    {each}" for each in wrong), flush=True)
            if wrong and options.show:
                print(run.output[-4000:])
    unheld = set() if options.words else in_tables(lists, names_of_tests()) - tests
    unheld = {name for name in unheld if not any(name in reason for reason in cannot.values())}
    for name in sorted(unheld):
        print(f"no rule switches off what this holds: `{name}`")
    print(f"{len(chosen) - survived} of {len(chosen)} rules switched off made all of their tests "
          f"fail ({len(tests)} tests), {len(cannot)} cannot be, "
          f"{time.monotonic() - began:.0f} s")
    return 1 if survived or unheld else 0


if __name__ == "__main__":
    main()
