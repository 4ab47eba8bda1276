"""What was measured, as tables: medians, ratios, promises.

A table is the same everywhere; who writes it out decides how a cell looks.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from harness.bystanders import TOLERABLE
from harness.figures import Figures, estimate, ratio

if TYPE_CHECKING:
    from harness.families import Figure


@dataclass(frozen=True)
class Table:
    """Cells have parts: a median, and what it is to the first contestant."""

    name: str
    title: str
    note: str
    heads: tuple[str, ...]
    rows: tuple[tuple[tuple[str, ...], ...], ...]


def number(value: float) -> str:
    """Return three digits or so, which is what is known."""
    if value >= 1000:
        return f"{value:,.0f}"
    if value >= 100:
        return f"{value:.0f}"
    return f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def table_of(figures: Figures, figure: Figure) -> Table:
    """Return a row for each contestant, and a column for each case."""
    family = figures.family
    names = figures.names()
    rows = []
    for name in names:
        cells: list[tuple[str, ...]] = [(name,)]
        for case in family.cases:
            row = figures.row(figure, case.name)
            cells.append(_cell(figures, figure, case.name, name, row))
        rows.append(tuple(cells))
    first = family.contestants[0].name
    note = f"median; its ratio to {first}, with the 95 % interval"
    if figures.bystanders > TOLERABLE:
        note += (
            f"; rough, as other programs had {figures.bystanders:.0%} of the "
            "processors meanwhile"
        )
    return Table(
        name=f"{family.name}-{figure.name}".lower(),
        title=f"{family.title}: {figure.unit}, {figure.better} is better",
        note=note,
        heads=("", *(case.title for case in family.cases)),
        rows=tuple(rows),
    )


def _cell(
    figures: Figures,
    figure: Figure,
    case: str,
    name: str,
    row: dict[str, list[float]],
) -> tuple[str, ...]:
    if name not in row:
        return ()
    median = number(figures.medians(figure, case)[name])
    first = figures.family.contestants[0].name
    if name == first or first not in row:
        return (median,)
    found = estimate(row[name], row[first])
    if found is None:
        return (median,)
    spread = f"[{found.low:.2f}\N{EN DASH}{found.high:.2f}]"
    return median, f"{found.ratio:.2f} {spread}"


def promises_of(figures: Figures) -> tuple[Table | None, int]:
    """Return a row for each promise, and how many are missed."""
    family = figures.family
    titles = {case.name: case.title for case in family.cases}
    rows = []
    count_missed = 0
    for promise in family.promises:
        measured = ratio(figures, promise)
        if measured is None:
            continue
        value, best = measured
        if promise.kind == "faster":
            met = value >= promise.bound
            bound = f"at least {promise.bound:g} times as fast as {best}"
        else:
            met = value <= promise.bound
            bound = f"at most {promise.bound:g} times the time of {best}"
        if promise.figure:
            bound = f"({promise.figure}) {bound}"
        count_missed += not met
        cells = (
            titles[promise.case],
            promise.ours,
            bound,
            f"{value:.2f}",
            "met" if met else "MISSED",
        )
        rows.append(tuple((cell,) for cell in cells))
    if not rows:
        return None, 0
    table = Table(
        name=f"{family.name}-promises",
        title=f"{family.title}: what is promised",
        note="",
        heads=("", "", "promise", "measured", ""),
        rows=tuple(rows),
    )
    return table, count_missed
