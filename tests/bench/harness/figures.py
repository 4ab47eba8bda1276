"""The figures of a run: what tables and charts are made of, and its JSON."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

    from harness.families import Family, Figure, Promise
    from harness.rounds import Result

RESAMPLES = 2000
CONFIDENCE = (2.5, 97.5)
# No machine is known to more digits, and the file stays small.
DIGITS = 4


@dataclass(frozen=True)
class Estimate:
    """A ratio of medians, and where it lies in 95 of 100 such runs."""

    ratio: float
    low: float
    high: float


@dataclass(frozen=True)
class Figures:
    """The figures of one family, by figure, case and contestant.

    ``bystanders`` is the part of the processors that other programs had.
    """

    family: Family
    values: dict[str, dict[str, dict[str, list[float]]]]
    bystanders: float = 0.0

    @classmethod
    def of(cls, result: Result) -> Figures:
        """Return what was measured, as figures."""
        values = {
            figure.name: {
                case: {
                    name: [_short(figure.of(answer)) for answer in answers]
                    for name, answers in by_name.items()
                }
                for case, by_name in result.answers.items()
            }
            for figure in result.family.figures
        }
        return cls(result.family, values, result.bystanders)

    def row(self, figure: Figure, case: str) -> dict[str, list[float]]:
        """Return what each contestant reached in each round."""
        return self.values.get(figure.name, {}).get(case, {})

    def medians(self, figure: Figure, case: str) -> dict[str, float]:
        """Return the median of each contestant's rounds."""
        return {
            name: float(np.median(values))
            for name, values in self.row(figure, case).items()
        }

    def names(self) -> list[str]:
        """Return who was measured, in the family's order."""
        found = {
            name
            for by_case in self.values.values()
            for row in by_case.values()
            for name in row
        }
        contestants = self.family.contestants
        return [one.name for one in contestants if one.name in found]


def _short(value: float) -> float:
    return float(f"{value:.{DIGITS}g}")


def estimate(values: list[float], reference: list[float]) -> Estimate | None:
    """Return the ratio of two contestants' medians.

    The interval is that of a bootstrap: rounds are drawn again and again, as
    many as there were, and both are looked at in the same ones, for a slow
    moment of the machine is in both. What is drawn is always the same, so
    that the same figures make the same table.

    Returns:
      None where there is nothing to compare with.
    """
    # Who fails is out from then on.
    count = min(len(values), len(reference))
    if count == 0 or not np.median(reference):
        return None
    drawn = np.random.default_rng(0).integers(0, count, (RESAMPLES, count))
    above = np.median(np.asarray(values)[drawn], axis=1)
    below = np.median(np.asarray(reference)[drawn], axis=1)
    with np.errstate(divide="ignore", invalid="ignore"):
        low, high = np.percentile(above / below, CONFIDENCE)
    ratio = np.median(values) / np.median(reference)
    return Estimate(float(ratio), float(low), float(high))


def ratio(figures: Figures, promise: Promise) -> tuple[float, str] | None:
    """Return the ratio that ``promise`` is about, and to whom.

    It is to the best of those that took part; None when nobody did.
    """
    known = {figure.name: figure for figure in figures.family.figures}
    figure = known[promise.figure or figures.family.figures[0].name]
    row = figures.medians(figure, promise.case)
    theirs = {name: row[name] for name in promise.theirs if name in row}
    if not theirs or not row.get(promise.ours):
        return None
    less = figure.better == "less"
    choose = min if less else max
    best = choose(theirs, key=lambda name: theirs[name])
    speed = theirs[best] / row[promise.ours]
    if not less:
        speed = 1 / speed
    # As it is printed, so that what is printed agrees with itself.
    return round(speed if promise.kind == "faster" else 1 / speed, 2), best


def save(
    path: Path, machine: Mapping[str, str], run: Iterable[Figures]
) -> None:
    """Write a run to ``path``."""
    families = {
        figures.family.name: {
            "bystanders": _short(figures.bystanders),
            "values": figures.values,
        }
        for figures in run
    }
    content = {"machine": dict(machine), "families": families}
    # A line for each contestant: a change of one is a change of one line.
    text = re.sub(
        r"\[([^][{}]+)\]",
        lambda found: f"[{' '.join(found[1].split())}]",
        json.dumps(content, indent=1),
    )
    path.write_text(text + "\n", encoding="utf-8")


def load(
    path: Path, families: Mapping[str, Family]
) -> tuple[dict[str, str], list[Figures]]:
    """Read what ``save`` wrote, of the families that there still are."""
    content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    run = [
        Figures(families[name], kept["values"], kept["bystanders"])
        for name, kept in content["families"].items()
        if name in families
    ]
    return content["machine"], run
