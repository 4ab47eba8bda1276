"""Change the package in one place at a time, and see that a test fails.

    python tests/mutation/mutate.py _queues _datagrams.gso [--all] [--record]

A sample of a module's changes is tried, the same each time. Asked are the
tests of its wing that run the changed line: the module's own first, and the
quick ones before the slow. What none sees is listed, and is to be killed by a
new test or explained in ``equivalent.txt``, whose entries are left out of the
score. ``--record`` puts the scores into ``scores.json`` and the table of the
documentation.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import re
import shutil
import sys
import tempfile
from pathlib import Path

import mutants
import runs

HERE = Path(__file__).parent
TOP = HERE.parents[1]
PACKAGE = TOP / "triobatch"
# How many seconds of tests are asked about one change, the quick ones first.
ASKED = 8
# A mutant that hangs is killed as well as one that fails: it takes so many
# times as long as the tests do without it, and some seconds.
PATIENCE = 5
SCORES = HERE / "scores.json"
TABLE = TOP / "docs/project/mutation-tables.rst"
# As it was changed, so that no compiled file of an earlier change is taken.
_EPOCH = 1_000_000_000


def explained():
    """Return what ``equivalent.txt`` explains: module, change and line."""
    text = (HERE / "equivalent.txt").read_text("utf-8")
    return {
        (module, said, code)
        for module, said, code in re.findall(
            r"(?m)^(_\S+) \[(.+?)\] (.+)\n    \S", text
        )
    }


def modules_of(names):
    """Return the modules that are named, by themselves or by their wing."""
    found = []
    for name in names:
        path = PACKAGE / name.replace(".", "/")
        found += (
            [
                f"{name}.{file.stem}"
                for file in sorted(path.glob("*.py"))
                if file.stem != "__init__"
            ]
            if path.is_dir()
            else [name]
        )
    return found


def copy_to(top):
    """Make the copy of the project that is changed."""
    for name in ("triobatch", "tests", "examples"):
        shutil.copytree(
            TOP / name,
            top / name,
            ignore=shutil.ignore_patterns("__pycache__", "mutation"),
        )
    for name in ("pyproject.toml", "CONTRIBUTING.md", "README.md"):
        shutil.copy(TOP / name, top / name)


class Wing:
    """A wing's tests, and which of them run what."""

    def __init__(self, top, wing, instead=()):
        self._wing = wing
        files = instead or [f"tests/{wing}"]
        self._seen, self._times, failed, others = runs.coverage(top, files)
        for test in failed:
            print(f"fails as it is: {test}", file=sys.stderr)
            self._times.pop(test, None)
        for name in others:
            try:
                importlib.import_module(name)
            except Exception:  # noqa: BLE001 (it is only a matter of speed)
                continue
        assert not any(name.startswith("triobatch") for name in sys.modules)

    def tests_for(self, module, path, lines):
        """Return the tests that run some lines, and the seconds they take."""
        name = module.rpartition(".")[2].strip("_")
        own = re.compile(rf"tests/{self._wing}/test_{name}(_\w+)?\.py::")
        seen = self._seen.get(str(path), {})
        found = set().union(*(seen.get(line, ()) for line in lines))
        if None in found:
            # It runs when it is imported, and what it makes is used anywhere.
            found |= {test for test in self._times if own.match(test)} or set(
                self._times
            )
        found &= self._times.keys()
        tests, left = [], ASKED
        for test in sorted(
            found,
            key=lambda test: (not own.match(test), self._times[test], test),
        ):
            left -= self._times[test]
            if left < 0 and tests:
                break
            tests.append(test)
        return tests, ASKED - left


def score(module, top, wing, sample, seed, known):
    """Try the mutants of a module.

    Returns:
      How many were tried, killed and explained, and how many there are; and
      the survivors, each with whether a test has run it at all.
    """
    path = top / "triobatch" / (module.replace(".", "/") + ".py")
    source = path.read_text("utf-8")
    then = path.stat()
    chosen = mutants.mutants(source, sample, seed)
    tried = [
        mutant
        for mutant in chosen
        if (module, mutant.said, mutant.code) not in known
    ]
    survivors = []
    try:
        for number, mutant in enumerate(tried):
            tests, seconds = wing.tests_for(module, path, mutant.lines)
            if tests:
                path.write_text(mutant.source, "utf-8")
                os.utime(path, (_EPOCH + number, _EPOCH + number))
                if runs.is_killed(tests, PATIENCE * seconds + 5):
                    continue
            survivors.append((mutant, bool(tests)))
    finally:
        path.write_text(source, "utf-8")
        os.utime(path, ns=(then.st_atime_ns, then.st_mtime_ns))
    counts = {
        "tried": len(tried),
        "killed": len(tried) - len(survivors),
        "explained": len(chosen) - len(tried),
        "all": mutants.count(source),
        "seed": seed,
    }
    return counts, survivors


def table(scores):
    """Return the table of the documentation."""
    rows = [
        f"   ``{name}``,{100 * row['killed'] / (row['tried'] or 1):.0f} %,"
        f"{row['killed']},{row['tried']},{row['explained']},{row['all']}"
        for name, row in sorted(scores.items())
    ]
    return "\n".join(
        [
            ".. Written by tests/mutation/mutate.py --record.",
            "",
            ".. csv-table::",
            "   :header: module,score,killed,tried,explained,all",
            "",
            *rows,
            "",
        ]
    )


def record(module, counts):
    """Keep a module's score, and write the table anew."""
    scores = json.loads(SCORES.read_text("utf-8")) if SCORES.exists() else {}
    scores[module] = counts
    SCORES.write_text(
        json.dumps(dict(sorted(scores.items())), indent=2) + "\n", "utf-8"
    )
    TABLE.write_text(table(scores), "utf-8")


def main():
    """Print the score of each module, and what has survived."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("modules", nargs="+")
    parser.add_argument("--sample", type=int, default=30)
    parser.add_argument("--all", action="store_true")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--tests", nargs="+", help="instead of a wing's")
    parser.add_argument("--record", action="store_true")
    options = parser.parse_args()
    known = explained()
    wings = {}
    with tempfile.TemporaryDirectory() as directory:
        top = Path(directory).resolve()
        copy_to(top)
        runs.prepare(top)
        for module in modules_of(options.modules):
            name = module.partition(".")[0].strip("_")
            if name not in wings:
                wings[name] = Wing(top, name, options.tests)
            counts, survivors = score(
                module,
                top,
                wings[name],
                0 if options.all else options.sample,
                options.seed,
                known,
            )
            print(
                f"{module}: {counts['killed']} of {counts['tried']} killed, "
                f"{counts['explained']} explained, of {counts['all']}",
                flush=True,
            )
            for mutant, is_run in sorted(survivors, key=lambda it: it[0].line):
                never = "" if is_run else "  (no test runs it)"
                print(
                    f"  {mutant.line}: [{mutant.said}] {mutant.code}{never}",
                    flush=True,
                )
            if options.record:
                record(module, counts)


if __name__ == "__main__":
    main()
