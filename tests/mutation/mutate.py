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
import ast
import json
import marshal
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
ASKED = 20
# A mutant that hangs is killed as well as one that fails: a test takes so many
# times as long as it does without it, and some seconds.
PATIENCE = 5
# What is asked beside a wing's own tests: they go through every public call.
FOR_ALL = (
    "tests/test_arguments.py",
    "tests/test_wrong_arguments.py",
    "tests/test_kept_errors.py",
)
# And what is tested by another wing, which is above it.
FROM_ABOVE = {"streams": ("tests/senders/test_shared_stream_broadcast.py",)}
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
    """A wing's tests, which of them run what, and what they see of changes.

    In the process that has collected them. A change of what is imported it
    has tried by the first one: ``ask``.
    """

    def __init__(self, top, wing, session, ask):
        self._top = top
        self._wing = wing
        self._session = session
        self._ask = ask
        self._functions = runs.Functions(top)
        self._seen, self._times, self.failed = session.coverage(
            top, self._functions
        )
        for test in self.failed:
            self._times.pop(test, None)

    def tests_for(self, module, path, lines):
        """Return the tests that run some lines, and the seconds they take."""
        name = module.rpartition(".")[2].strip("_")
        own = re.compile(rf"tests/{self._wing}/test_{name}(_\w+)?\.py::")
        if lines is None:
            # It runs when it is imported, and what it makes is used anywhere.
            found = set(filter(own.match, self._times)) or set(self._times)
        else:
            seen = self._seen.get(str(path), {})
            found = set().union(*(seen.get(line, ()) for line in lines))
        tests, left = [], ASKED
        for test in sorted(
            found & self._times.keys(),
            key=lambda test: (not own.match(test), self._times[test], test),
        ):
            left -= self._times[test]
            if left < 0 and tests:
                break
            tests.append(test)
        return tests, ASKED - left

    def is_killed(self, module, path, mutant):
        """Tell whether a test fails; None if none runs what was changed."""
        source = path.read_text("utf-8")
        name = str(path)
        before = compile(source, name, "exec", dont_inherit=True)
        after = compile(mutant.tree, name, "exec", dont_inherit=True)
        changed = self._functions.has(before, after)
        tests, seconds = self.tests_for(
            module, path, mutant.lines if changed else None
        )
        if not tests and changed:
            # Perhaps it runs while something is imported, and never again.
            changed = False
            tests, seconds = self.tests_for(module, path, None)
        if not tests:
            return None
        then = path.stat()
        try:
            # For the processes that tests start.
            path.write_text(ast.unparse(mutant.tree), "utf-8")
            self._epoch = getattr(self, "_epoch", _EPOCH) + 1
            os.utime(path, (self._epoch, self._epoch))
            if not changed:
                return self._ask(tests, PATIENCE * seconds + 20)
            return self._session.is_killed(
                lambda: self._functions.change(before, after),
                self._patience(tests),
            )
        finally:
            path.write_text(source, "utf-8")
            os.utime(path, ns=(then.st_atime_ns, then.st_mtime_ns))

    def _patience(self, tests):
        return {test: PATIENCE * self._times[test] + 5 for test in tests}

    def _fails_as_it_is(self, module, path):
        tests, _ = self.tests_for(module, path, None)
        source = path.read_text("utf-8")
        code = compile(source, str(path), "exec", dont_inherit=True)
        return self._session.is_killed(
            lambda: self._functions.change(code, code, every=True),
            self._patience(tests),
        )

    def score(self, module, sample, seed, known):
        """Try the mutants of a module.

        Returns:
          How many were tried, killed and explained, and how many there are;
          and a line for each survivor.
        """
        path = self._top / "triobatch" / (module.replace(".", "/") + ".py")
        source = path.read_text("utf-8")
        chosen = mutants.mutants(source, sample, seed)
        tried = [
            mutant
            for mutant in chosen
            if (module, mutant.said, mutant.code) not in known
        ]
        survivors = []
        if self._fails_as_it_is(module, path):
            return {}, ["its own tests fail with the same code put in anew"]
        for mutant in sorted(tried, key=lambda mutant: mutant.line):
            killed = self.is_killed(module, path, mutant)
            if not killed:
                never = "  (no test runs it)" if killed is None else ""
                survivors.append(
                    f"{mutant.line}: [{mutant.said}] {mutant.code}{never}"
                )
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
    by_wing = {}
    for module in modules_of(options.modules):
        wing = module.partition(".")[0].strip("_")
        by_wing.setdefault(wing, []).append(module)
    with tempfile.TemporaryDirectory() as directory:
        top = Path(directory).resolve()
        copy_to(top)
        runs.prepare(top)
        for wing, modules in by_wing.items():
            try_wing(top, wing, modules, options)


def try_wing(top, wing, modules, options):
    """Try the mutants of some modules of a wing, and tell what they come to.

    In a process of its own, to which this one answers.
    """
    asked, ask = map(os.fdopen, os.pipe(), ("rb", "wb"))
    answered, answer = map(os.fdopen, os.pipe(), ("rb", "wb"))

    def tell(*message):
        marshal.dump(message, ask)
        ask.flush()

    def have_tried(tests, patience):
        tell("try", tests, patience)
        return marshal.load(answered)

    def work(session):
        tried = Wing(top, wing, session, have_tried)
        tell("failed", sorted(tried.failed))
        known = explained()
        sample = 0 if options.all else options.sample
        for module in modules:
            counts, survivors = tried.score(
                module, sample, options.seed, known
            )
            tell("done", module, counts, survivors)
        tell("end")

    above = FROM_ABOVE.get(wing, ())
    tests = options.tests or [f"tests/{wing}", *above, *FOR_ALL]
    child = runs.collect(tests, work)
    ask.close()
    while True:
        try:
            match marshal.load(asked):
                case "failed", tests:
                    for test in tests:
                        print(f"left out, it fails: {test}", flush=True)
                case "try", tests, patience:
                    killed = runs.is_killed_from_its_import(tests, patience)
                    marshal.dump(killed, answer)
                    answer.flush()
                case "done", module, counts, survivors:
                    show(module, counts, survivors)
                    if counts.get("all") and options.record:
                        record(module, counts)
                case _:
                    break
        except EOFError:
            sys.exit(f"the tests of {wing} cannot be collected")
    os.waitpid(child, 0)


def show(module, counts, survivors):
    """Print what the mutants of a module have come to."""
    print(
        f"{module}: {counts['killed']} of {counts['tried']} killed, "
        f"{counts['explained']} explained, of {counts['all']}"
        if counts
        else f"{module}: not tried",
        *(f"  {survivor}" for survivor in survivors),
        sep="\n",
        flush=True,
    )


if __name__ == "__main__":
    main()
