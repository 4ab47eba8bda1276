"""Every benchmark with every peer, in one run.

    python tests/bench/run.py
    python tests/bench/run.py --tests streams,senders --peers go,c
    python tests/bench/run.py --json result.json --plot

The contestants of a test take turns, round by round, each in a process of its
own; the other end of their connections is another process. Each is warmed up
first. What is counted has arrived: the receiver acknowledges it, within the
time that is measured. A peer that is not installed is skipped.
"""

from __future__ import annotations

import argparse
import json
import platform
import sys
import time
from pathlib import Path

from cases import FAMILIES
from harness.build import Programs
from harness.bystanders import TOLERABLE
from harness.rounds import Result, run_family
from harness.tables import promises, table

import triobatch

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
    parser.add_argument("--json", metavar="FILE", help="write all figures")
    parser.add_argument(
        "--plot", action="store_true", help="draw charts into docs/"
    )
    return parser.parse_args()


def show_progress(what: str) -> None:
    """Say what is being done, on one line if that is possible."""
    if sys.stderr.isatty():
        print(f"\r\033[K{what[:100]}", end="", file=sys.stderr, flush=True)
    elif "round" not in what and "warming" not in what:
        print(what, file=sys.stderr, flush=True)


def machine() -> dict[str, str]:
    """Return what the figures depend on."""
    core = triobatch.capabilities().core
    model = platform.machine()
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            model = line.partition(":")[2].strip()
            break
    return {
        "processor": model,
        "kernel": platform.release(),
        "python": platform.python_version(),
        "triobatch": f"{triobatch.__version__}, {core} core",
    }


def as_json(results: list[Result]) -> dict[str, object]:
    """Return every answer, as it came."""
    return {result.family.name: result.answers for result in results}


def main() -> int:
    """Measure, print, and return the status to exit with."""
    options = parse()
    start = time.monotonic()
    facts = machine()
    for name, value in facts.items():
        print(f"{name}: {value}", flush=True)
    results = []
    with Programs() as programs:
        for name in options.tests:
            result = run_family(
                FAMILIES[name],
                programs,
                peers=options.peers,
                rounds=options.rounds,
                seconds=options.seconds,
                progress=show_progress,
            )
            results.append(result)
            if result.lacking is not None:
                continue
            if sys.stderr.isatty():
                print("\r\033[K", end="", file=sys.stderr)
            for figure in result.family.figures:
                print(f"\n{table(result, figure)}", flush=True)
            if result.bystanders > TOLERABLE:
                print(
                    f"\nother programs had {result.bystanders:.0%} of the "
                    "processors meanwhile: these figures are rough"
                )
    count_missed = 0
    for result in results:
        text, count = promises(result)
        count_missed += count
        if text:
            print(f"\n{text}")
    skipped = {
        peer: how for result in results for peer, how in result.skipped.items()
    }
    for peer, how in skipped.items():
        print(f"\nskipped {peer}, which is not installed: {how}")
    for result in results:
        if result.lacking is not None:
            print(f"\nskipped {result.family.name}: {result.lacking}")
    failures = [failure for result in results for failure in result.failures]
    for failure in failures:
        print(f"\nfailed: {failure}")
    print(
        f"\n{options.rounds} rounds in {time.monotonic() - start:.0f} s, "
        f"{count_missed} promises missed"
    )
    if options.json:
        Path(options.json).write_text(
            json.dumps({"machine": facts} | as_json(results), indent=1),
            encoding="utf-8",
        )
    if options.plot:
        from harness.charts import draw  # noqa: PLC0415 (matplotlib is slow)

        for path in draw(results, DOCS):
            print(f"drew {path}")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
