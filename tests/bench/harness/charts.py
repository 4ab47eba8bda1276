"""What was measured, as SVG charts for the documentation.

Ours is coloured, the limit that C sets is dark, and the others are grey, where
there are bars; lines need a colour for each peer. The charts are the same,
byte for byte, when the figures are.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import matplotlib as mpl

mpl.use("svg")

from matplotlib import pyplot as plt
from matplotlib.ticker import FuncFormatter, NullLocator

from harness.tables import medians

if TYPE_CHECKING:
    from pathlib import Path

    from matplotlib.axes import Axes

    from harness.families import Contestant, Figure
    from harness.rounds import Result

INK = "#212529"
FAINT = "#868e96"
OURS = ("#0b7285", "#15aabf", "#74c0cf")
LIMIT = "#495057"
OTHERS = "#ced4da"
LINES = {
    "trio": "#e8590c",
    "anyio": "#f59f00",
    "asyncio": "#5f3dc4",
    "uvloop": "#c2255c",
    "go": "#2b8a3e",
    "stdlib": "#adb5bd",
    "c": LIMIT,
}
# Bars longer than this many times ours are cut, or ours would be invisible.
LONGEST = 3.5
STYLE = {
    "font.family": "DejaVu Sans",
    "font.size": 9,
    "text.color": INK,
    "axes.edgecolor": FAINT,
    "axes.labelcolor": INK,
    "xtick.color": FAINT,
    "ytick.color": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "svg.hashsalt": "triobatch",
}


def _number(value: float) -> str:
    if value >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if value >= 1 else f"{value:.2f}"


def _colours(contestants: list[Contestant]) -> dict[str, str]:
    colours, ours = {}, iter(OURS * len(contestants))
    for contestant in contestants:
        if contestant.peer == "triobatch":
            colours[contestant.name] = next(ours)
        else:
            colours[contestant.name] = (
                LIMIT if contestant.peer == "c" else OTHERS
            )
    return colours


def _bars(
    axes: Axes,
    row: dict[str, float],
    names: list[str],
    colours: dict[str, str],
    *,
    longest: float,
) -> None:
    for place, name in enumerate(names):
        if name not in row:
            continue
        value = row[name]
        axes.barh(place, min(value, longest), color=colours[name], height=0.74)
        if value > longest:
            # A gap near the end: the bar goes on.
            axes.plot(
                [longest * 0.93, longest * 0.955],
                [place - 0.45, place + 0.45],
                color="white",
                linewidth=3,
            )
        axes.text(
            min(value, longest) + longest * 0.02,
            place,
            _number(value),
            va="center",
            size=8,
            color=INK,
            weight="bold" if colours[name] in OURS else "normal",
        )
    axes.set_xlim(0, longest * 1.2)
    axes.set_ylim(len(names) - 0.4, -0.6)
    axes.set_yticks(range(len(names)), names)
    axes.tick_params(axis="y", length=0, pad=4)
    axes.xaxis.set_major_locator(NullLocator())
    axes.spines["bottom"].set_visible(False)
    axes.spines["left"].set_color(FAINT)


def _panels(result: Result, contestants: list[Contestant]) -> plt.Figure:
    """Draw a panel of bars for each case."""
    family = result.family
    figure_of = family.figures[0]
    by_case = medians(result, figure_of)
    names = [contestant.name for contestant in contestants]
    colours = _colours(contestants)
    across = min(4, len(family.cases))
    down = -(-len(family.cases) // across)
    figure, grid = plt.subplots(
        down,
        across,
        figsize=(1.6 + 2.35 * across, 0.9 + down * (0.2 * len(names) + 0.45)),
        squeeze=False,
        sharey=True,
    )
    for axes in grid.flat[len(family.cases) :]:
        axes.set_visible(False)
    for axes, case in zip(grid.flat, family.cases, strict=False):
        row = by_case[case.name]
        ours = [
            row[contestant.name]
            for contestant in contestants
            if contestant.peer == "triobatch" and contestant.name in row
        ]
        shown = [value for name, value in row.items() if name in names]
        longest = max(shown, default=1.0)
        if figure_of.better == "less" and ours:
            longest = min(longest, LONGEST * max(ours))
        _bars(axes, row, names, colours, longest=longest)
        axes.set_title(case.title, loc="left", size=9.5, weight="bold")
    return figure


def _lines(result: Result, contestants: list[Contestant]) -> plt.Figure:
    """Draw a line for each contestant, over cases that are numbers."""
    family = result.family
    by_case = medians(result, family.figures[0])
    places = [float(case.name) for case in family.cases]
    figure, axes = plt.subplots(figsize=(8.6, 4.4))
    ours = iter(OURS)
    ends = []
    for contestant in contestants:
        values = [
            by_case[case.name].get(contestant.name, math.nan)
            for case in family.cases
        ]
        mine = contestant.peer == "triobatch"
        colour = next(ours) if mine else LINES[contestant.peer]
        axes.plot(
            places,
            values,
            color=colour,
            linewidth=2.4 if mine else 1.3,
            linestyle="--" if contestant.peer == "c" else "-",
            marker="o",
            markersize=4 if mine else 2.5,
            zorder=3 if mine else 2,
        )
        ends.append((values[-1], contestant.name, colour, mine))
    axes.set_xscale("log")
    axes.set_xticks(places, [f"{place:,.0f}" for place in places])
    axes.xaxis.set_minor_locator(NullLocator())
    everything = [value for line in axes.lines for value in line.get_ydata()]
    # Within an order of magnitude a line's height should mean what it is.
    if max(everything) > 12 * min(everything):
        axes.set_yscale("log")
        axes.yaxis.set_minor_locator(NullLocator())
    else:
        axes.set_ylim(bottom=0)
    axes.yaxis.set_major_formatter(FuncFormatter(lambda y, _: f"{y:,g}"))
    axes.grid(axis="y", color="#e9ecef", linewidth=0.8)
    axes.tick_params(axis="both", length=0, labelcolor=INK)
    axes.spines["left"].set_visible(False)
    axes.set_xlabel(family.axis, labelpad=6)
    _name_ends(axes, ends)
    return figure


def _name_ends(axes: Axes, ends: list[tuple[float, str, str, bool]]) -> None:
    """Name each line where it ends, no two names on top of each other."""
    to_axes = axes.transData + axes.transAxes.inverted()
    taken = -math.inf
    for value, name, colour, mine in sorted(ends):
        height = max(to_axes.transform((1, value))[1], taken + 0.052)
        taken = height
        axes.text(
            1.015,
            height,
            name,
            transform=axes.transAxes,
            color=colour,
            va="center",
            size=8.5,
            weight="bold" if mine else "normal",
        )


def _title(figure: plt.Figure, title: str, unit: Figure) -> None:
    inch = 1 / figure.get_figheight()
    figure.text(0.01, 1 - 0.26 * inch, title, size=12, weight="bold")
    figure.text(
        0.01,
        1 - 0.45 * inch,
        f"{unit.unit}, {unit.better} is better",
        color=FAINT,
    )
    figure.tight_layout(rect=(0, 0, 1, 1 - 0.5 * inch))


def draw(results: list[Result], directory: Path) -> list[Path]:
    """Write a chart for each family; return where they are."""
    paths = []
    for result in results:
        family = result.family
        measured = {name for row in result.answers.values() for name in row}
        contestants = [
            contestant
            for contestant in family.contestants
            if contestant.name in measured
            and (not family.charted or contestant.name in family.charted)
        ]
        if not contestants:
            continue
        with plt.rc_context(STYLE):
            make = _lines if family.chart == "lines" else _panels
            figure = make(result, contestants)
            _title(figure, family.title, family.figures[0])
            path = directory / f"{family.name}.svg"
            figure.savefig(path, metadata={"Date": None}, facecolor="white")
            plt.close(figure)
        paths.append(path)
    return paths
