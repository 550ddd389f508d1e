"""Edits planted in a copy of the sources, all in one build, each behind a number that the
environment names (PLANTED=7). Without one the copy is as the sources are.

What is planted is a dictionary: a name, and its edits, each of which is a file under Sources, what
stands there exactly once, and what is put in its place; HERE in it is true where this one is
asked for. Numbers count from 1 in the dictionary's order.
"""

import pathlib
import re
import shutil
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parents[2]

SWITCH = """
import Glibc

/// What is asked for; 0: nothing.
public let plantedNumber: Int = unsafe getenv("PLANTED").flatMap { unsafe Int32(atoi($0)) }
  .map { Int($0) } ?? 0

@inline(never)
public func planted(_ number: Int) -> Bool { plantedNumber == number }
"""


def check(edits_by_name):
    """Ends the process where an edit does not fit its file any more."""
    for name, edits in edits_by_name.items():
        for file, before, _ in edits:
            if (ROOT / "Sources" / file).read_text().count(before) != 1:
                sys.exit(f"{file} has no one place for: {name}")
        if not any("HERE" in after for _, _, after in edits):
            sys.exit(f"nothing is switched by: {name}")


def copy_tree(copy):
    copy.mkdir(parents=True, exist_ok=True)
    for name in ("Sources", "Tests"):
        # With the times of the files: the next build builds only what has changed.
        shutil.rmtree(copy / name, ignore_errors=True)
        shutil.copytree(ROOT / name, copy / name)
    for name in ("Package.swift", "Package.resolved"):
        if (ROOT / name).exists():
            shutil.copy2(ROOT / name, copy)


def plant(edits_by_name, copy):
    (copy / "Sources/Primitives/Planted.swift").write_text(SWITCH)
    for number, (name, edits) in enumerate(edits_by_name.items(), 1):
        for file, before, after in edits:
            path = copy / "Sources" / file
            text = path.read_text()
            if text.count(before) != 1:
                sys.exit(f"{file}: an edit before it took the place of: {name}")
            text = text.replace(before, after.replace("HERE", f"planted({number})"))
            if not file.startswith("Primitives/") and not re.search(
                    r"^import Primitives$", text, re.M):
                text = "import Primitives\n" + text
            path.write_text(text)


def build(copy, *options):
    built = subprocess.run(
        ["swift", "build", *options], cwd=copy, capture_output=True, text=True)
    if built.returncode != 0:
        sys.exit(f"does not build:\n{built.stdout[-5000:]}{built.stderr[-1000:]}")
