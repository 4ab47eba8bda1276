"""Every benchmark with every peer, in one run.

    python tests/bench/run.py
    python tests/bench/run.py --tests streams,senders --peers go,c
    python tests/bench/run.py --json result.json --plot
    python tests/bench/run.py --from result.json --rst tables.rst --plot

The contestants of a test take turns, round by round, each in a process of its
own; the other end of their connections is another process. Each is warmed up
first. What is counted has arrived: the receiver acknowledges it, within the
time that is measured. A peer that is not installed is skipped.

Tables show the median of the rounds, and its ratio to the first contestant's
with the interval in which that lies in 95 of 100 such runs, by a bootstrap.
"""

from __future__ import annotations

import argparse
import os
import platform
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

from cases import FAMILIES
from harness.build import Programs
from harness.figures import Figures, load, save
from harness.network import settle
from harness.progress import Reporter, spoken
from harness.rounds import expected, run_family
from harness.tables import promises_of, table_of
from harness.writers import console, for_terminal, markdown, rst

import triobatch

if TYPE_CHECKING:
    from collections.abc import Iterator

    from harness.rounds import Result
    from harness.tables import Table
    from rich.console import Console

DOCS = Path(__file__).resolve().parents[2] / "docs"


def positive(kind: type[int | float]):
    """Return what reads a number above 0."""

    def read(text: str) -> int | float:
        number = kind(text)
        if number <= 0:
            raise argparse.ArgumentTypeError(f"{text} is not above 0")
        return number

    return read


def parse() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )

    def names(known: set[str]):
        def split(text: str) -> list[str]:
            chosen = text.split(",")
            if unknown := set(chosen) - known:
                raise argparse.ArgumentTypeError(
                    f"no {', '.join(sorted(unknown))} here; "
                    f"there are {', '.join(sorted(known))}"
                )
            return chosen

        return split

    peers = {
        contestant.peer
        for family in FAMILIES.values()
        for contestant in family.contestants
    }
    parser.add_argument(
        "--tests",
        metavar="NAMES",
        type=names(set(FAMILIES)),
        default=list(FAMILIES),
        help=f"of {', '.join(FAMILIES)}; all by default",
    )
    parser.add_argument(
        "--peers",
        metavar="NAMES",
        type=names(peers),
        help=f"of {', '.join(sorted(peers))}; all by default",
    )
    parser.add_argument("--rounds", type=positive(int), default=7)
    parser.add_argument(
        "--seconds",
        type=positive(float),
        help="how long a measurement takes; by default as each test needs it",
    )
    parser.add_argument(
        "--from",
        metavar="JSON",
        dest="source",
        type=Path,
        help="measure nothing, and show the figures of a run that is over",
    )
    for name, what in (
        ("json", "all figures"),
        ("markdown", "the tables"),
        ("rst", "the tables, each between marks for a page to include it"),
    ):
        parser.add_argument(
            f"--{name}",
            metavar="FILE",
            type=Path,
            help=f"write {what}",
        )
    parser.add_argument(
        "--plot",
        metavar="DIRECTORY",
        nargs="?",
        type=Path,
        const=DOCS,
        help="draw charts, into docs/ by default",
    )
    options = parser.parse_args()
    if options.source and not options.source.is_file():
        parser.error(f"there is no {options.source}")
    return options


def machine() -> dict[str, str]:
    """Return what the figures depend on."""
    core = triobatch.capabilities().core
    model = platform.machine()
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            model = line.partition(":")[2].strip()
            break
    return {
        "processor": f"{model}, {os.cpu_count()} of them",
        "kernel": platform.release(),
        "python": platform.python_version(),
        "triobatch": f"{triobatch.__version__}, {core} core",
        "congestion control": settle(),
    }


def tables_of(figures: Figures) -> Iterator[Table]:
    """Return all tables of a family."""
    for figure in figures.family.figures:
        yield table_of(figures, figure)
    promised, _ = promises_of(figures)
    if promised is not None:
        yield promised


def show(figures: Figures, out: Console) -> None:
    """Print a family's tables."""
    for table in tables_of(figures):
        out.print(for_terminal(table, out.width))


def measure(options: argparse.Namespace, out: Console) -> list[Result]:
    """Measure, and print the tables of each family when it is done."""
    how = options.peers, options.rounds, options.seconds
    seconds = sum(expected(FAMILIES[name], *how) for name in options.tests)
    out.print(f"{len(options.tests)} tests: about {spoken(seconds)}")
    results = []
    with Programs() as programs, Reporter(out, seconds) as progress:
        for name in options.tests:
            result = run_family(
                FAMILIES[name],
                programs,
                peers=options.peers,
                rounds=options.rounds,
                seconds=options.seconds,
                progress=progress,
            )
            results.append(result)
            if result.lacking is None:
                show(Figures.of(result), out)
    return results


def report(results: list[Result], out: Console) -> int:
    """Print who was not measured, and return how many failed."""
    skipped = {
        peer: how for result in results for peer, how in result.skipped.items()
    }
    for peer, how in skipped.items():
        out.print(f"skipped {peer}, which is not installed: {how}")
    for result in results:
        if result.lacking is not None:
            out.print(f"skipped {result.family.name}: {result.lacking}")
    failures = [failure for result in results for failure in result.failures]
    for failure in failures:
        out.print(f"failed: {failure}", style="red")
    return len(failures)


def main() -> int:
    """Measure, print, and return the status to exit with."""
    options = parse()
    out = console()
    start = time.monotonic()
    count_failed = 0
    if options.source:
        facts, run = load(options.source, FAMILIES)
        run = [it for it in run if it.family.name in options.tests]
        for figures in run:
            show(figures, out)
    else:
        facts = machine()
        for name, value in facts.items():
            out.print(f"{name}: {value}")
        results = measure(options, out)
        run = [Figures.of(it) for it in results if it.lacking is None]
        out.print()
        count_failed = report(results, out)
        count_missed = sum(promises_of(figures)[1] for figures in run)
        out.print(
            f"{options.rounds} rounds in {time.monotonic() - start:.0f} s, "
            f"{count_missed} promises missed"
        )
    tables = [table for figures in run for table in tables_of(figures)]
    if options.json:
        save(options.json, facts, run)
    if options.markdown:
        options.markdown.write_text(markdown(tables, facts), encoding="utf-8")
    if options.rst:
        options.rst.write_text(rst(tables, facts), encoding="utf-8")
    if options.plot:
        from harness.charts import draw  # noqa: PLC0415 (matplotlib is slow)

        for path in draw(run, options.plot):
            out.print(f"drew {path}")
    return 1 if count_failed else 0


if __name__ == "__main__":
    sys.exit(main())
