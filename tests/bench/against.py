"""Every public call, beside what it took at another revision, in one run.

    python tests/bench/against.py v0.1.0
    python tests/bench/against.py HEAD~20 --calls 'send|broadcast' --most 1.1

The revision is built in a temporary directory. Both take turns with each call
and each number of items, in processes of their own; what is shown is the ratio
of the medians of their processor time, and the interval in which it lies in 95
of 100 such runs. With ``--most``, a call whose whole interval is above fails.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from guards.public_calls import ITEMS, WAYS
from harness.build import Programs
from harness.families import Case, Contestant, Family, Figure
from harness.figures import Estimate, Figures, estimate
from harness.progress import Reporter, spoken
from harness.rounds import expected, run_family
from harness.tables import Table
from harness.writers import console, for_terminal, markdown

TOP = Path(__file__).resolve().parents[2]
SOURCE = "public_calls.py"
HERE = "this tree"
# With what is around each call, to send what is received and to take what is
# sent, it takes about so many times as long.
AROUND = 3
TIME = Figure(
    "processor",
    "seconds of processor time a call",
    lambda answer: answer["seconds"] / answer["count"],
)


def parse() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("revision", help="a tag, branch or commit of git's")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument(
        "--seconds",
        type=float,
        default=0.02,
        help="how long a measurement takes (default: %(default)s)",
    )
    parser.add_argument(
        "--calls",
        type=re.compile,
        default=re.compile(""),
        metavar="PATTERN",
        help="of the calls, those with this in their name",
    )
    parser.add_argument(
        "--most",
        type=float,
        metavar="RATIO",
        help="fail where a call takes more than so many times as long",
    )
    parser.add_argument("--markdown", metavar="FILE", type=Path)
    return parser.parse_args()


def build(revision: str, directory: Path) -> str:
    """Install a revision into ``directory``; return which one it is."""
    show = ["git", "-C", TOP, "rev-parse", "--short", f"{revision}^{{commit}}"]
    found = subprocess.run(show, capture_output=True, text=True, check=False)
    if found.returncode:
        sys.exit(f"{revision} is no revision of this repository")
    commit = found.stdout.strip()
    source = directory / "source"
    source.mkdir()
    archive = subprocess.run(
        ["git", "-C", TOP, "archive", commit],
        stdout=subprocess.PIPE,
        check=True,
    )
    subprocess.run(
        ["tar", "-x", "-C", source], input=archive.stdout, check=True
    )
    subprocess.run(
        [
            *(sys.executable, "-m", "pip", "install", "--quiet", "--no-deps"),
            *("--no-build-isolation", "--target", directory / "built", source),
        ],
        check=True,
    )
    return commit


def calls_of(directory: Path) -> tuple[set[str], str]:
    """Return the calls that a revision has, and its core."""
    source = TOP / "tests/bench/peers" / SOURCE
    done = subprocess.run(
        [sys.executable, source, "--list", directory],
        stdout=subprocess.PIPE,
        check=True,
    )
    said = json.loads(done.stdout)
    return set(said["names"]), said["core"]


def family_of(names: list[str], commit: str, built: Path) -> Family:
    """Return what is measured: each call with each number of items."""
    return Family(
        name="against",
        title=f"This tree, against {commit}",
        contestants=(
            Contestant(commit, "triobatch", SOURCE, (str(built),)),
            Contestant(HERE, "triobatch", SOURCE, (str(TOP),)),
        ),
        cases=tuple(
            Case(f"{name}:{count}", f"{name}, {count}")
            for name in names
            for count in ITEMS
        ),
        figures=(TIME,),
        seconds=0.02,
        check=lambda case, count, answer: None,
    )


def ratios(figures: Figures) -> dict[str, Estimate]:
    """Return what each case takes of the other revision's time."""
    then = figures.family.contestants[0].name
    found = {}
    for case in figures.family.cases:
        row = figures.row(TIME, case.name)
        if HERE in row and then in row:
            measured = estimate(row[HERE], row[then])
            if measured is not None:
                found[case.name] = measured
    return found


def table_of(
    names: list[str], found: dict[str, Estimate], title: str
) -> Table:
    """Return a row for each call, and a column for each number of items."""

    def cell(name: str, count: int) -> tuple[str, ...]:
        one = found.get(f"{name}:{count}")
        if one is None:
            return ()
        return f"{one.ratio:.2f}", f"[{one.low:.2f}\N{EN DASH}{one.high:.2f}]"

    return Table(
        name="against",
        title=title,
        note="ratio of processor time, with the 95 % interval; by items",
        heads=("", *map(str, ITEMS)),
        rows=tuple(
            ((name,), *(cell(name, count) for count in ITEMS))
            for name in names
        ),
    )


def slower(found: dict[str, Estimate], most: float | None) -> list[str]:
    """Return a line for each case that is certainly above ``most``."""
    return [
        f"{name} takes {one.ratio:.2f} times as long, and not at most {most:g}"
        for name, one in found.items()
        if most is not None and one.low > most
    ]


def main() -> int:
    """Return the status to exit with."""
    options = parse()
    out = console()
    start = time.monotonic()
    with tempfile.TemporaryDirectory() as place, Programs() as programs:
        directory = Path(place)
        out.print(f"building {options.revision}")
        commit = build(options.revision, directory)
        built = directory / "built"
        now, core = calls_of(TOP)
        then, other_core = calls_of(built)
        if core != other_core:
            sys.exit(f"this tree runs on the {core} core: install it first")
        names = [
            name
            for name in WAYS
            if name in now & then and options.calls.search(name)
        ]
        if not names:
            sys.exit("there is no such call in both revisions")
        family = family_of(names, commit, built)
        how = None, options.rounds, options.seconds
        seconds = AROUND * expected(family, *how)
        out.print(f"{len(names)} calls: about {spoken(seconds)}")
        with Reporter(out, seconds) as progress:
            result = run_family(
                family,
                programs,
                peers=None,
                rounds=options.rounds,
                seconds=options.seconds,
                progress=progress,
            )
    figures = Figures.of(result)
    found = ratios(figures)
    table = table_of(names, found, family.title)
    out.print(for_terminal(table, out.width))
    if options.markdown:
        options.markdown.write_text(
            markdown([table], {"revision": commit}), encoding="utf-8"
        )
    wrong = list(result.failures)
    wrong += slower(found, options.most)
    for line in wrong:
        out.print(f"WRONG: {line}", style="red")
    out.print(f"{options.rounds} rounds in {time.monotonic() - start:.0f} s")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
