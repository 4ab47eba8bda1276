"""What was measured, as SVG charts for the documentation.

Ours is coloured, the limit that C sets is dark, and the others are grey, where
there are bars; lines need a colour for each peer. ``charts.mplstyle`` says how
all of them look, ``svg`` adds words for who cannot see them, and other colours
for the dark. The charts are the same, byte for byte, when the figures are.
"""

from __future__ import annotations

import io
import math
from pathlib import Path
from typing import TYPE_CHECKING

import matplotlib as mpl

mpl.use("svg")

from matplotlib import pyplot as plt
from matplotlib.ticker import FuncFormatter, NullLocator

from harness.svg import finished
from harness.tables import number

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from harness.families import Contestant, Figure
    from harness.figures import Figures

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
STYLE = Path(__file__).with_name("charts.mplstyle")


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
    shown = [name for name in names if name in row]
    bars = axes.barh(
        [names.index(name) for name in shown],
        [min(row[name], longest) for name in shown],
        color=[colours[name] for name in shown],
        height=0.74,
    )
    labels = [number(row[name]) for name in shown]
    for name, label in zip(
        shown, axes.bar_label(bars, labels, padding=3, size=8), strict=True
    ):
        label.set_weight("bold" if colours[name] in OURS else "normal")
    for name in shown:
        if row[name] > longest:
            # A gap near the end: the bar goes on.
            place = names.index(name)
            axes.plot(
                [longest * 0.93, longest * 0.955],
                [place - 0.45, place + 0.45],
                color="white",
                linewidth=3,
            )
    axes.set_xlim(0, longest * 1.2)
    axes.set_ylim(len(names) - 0.4, -0.6)
    axes.set_yticks(range(len(names)), names)
    axes.xaxis.set_major_locator(NullLocator())
    axes.spines["bottom"].set_visible(False)
    axes.spines["left"].set_color(FAINT)


def _panels(figures: Figures, contestants: list[Contestant]) -> plt.Figure:
    """Draw a panel of bars for each case."""
    family = figures.family
    figure_of = family.figures[0]
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
        row = figures.medians(figure_of, case.name)
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
        axes.set_title(case.title)
    return figure


def _lines(figures: Figures, contestants: list[Contestant]) -> plt.Figure:
    """Draw a line for each contestant, over cases that are numbers."""
    family = figures.family
    medians = [
        figures.medians(family.figures[0], case.name) for case in family.cases
    ]
    places = [float(case.name) for case in family.cases]
    figure, axes = plt.subplots(figsize=(8.6, 4.4))
    ours = iter(OURS)
    ends = []
    for contestant in contestants:
        values = [row.get(contestant.name, math.nan) for row in medians]
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
    axes.grid(axis="y")
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


def _described(figures: Figures, contestants: list[Contestant]) -> str:
    """Return the chart in words: every figure that it shows."""
    family = figures.family
    names = [contestant.name for contestant in contestants]
    parts = []
    for case in family.cases:
        row = figures.medians(family.figures[0], case.name)
        shown = [
            f"{name} {number(row[name])}" for name in names if name in row
        ]
        parts.append(f"{case.title}: {', '.join(shown)}.")
    unit = family.figures[0]
    return f"{unit.unit}, {unit.better} is better. " + " ".join(parts)


def draw(run: list[Figures], directory: Path) -> list[Path]:
    """Write a chart for each family; return where they are."""
    directory.mkdir(parents=True, exist_ok=True)
    paths = []
    for figures in run:
        family = figures.family
        measured = figures.names()
        contestants = [
            contestant
            for contestant in family.contestants
            if contestant.name in measured
            and (not family.charted or contestant.name in family.charted)
        ]
        if not contestants:
            continue
        with plt.style.context(STYLE):
            make = _lines if family.chart == "lines" else _panels
            figure = make(figures, contestants)
            _title(figure, family.title, family.figures[0])
            svg = io.StringIO()
            figure.savefig(svg, metadata={"Date": None})
            plt.close(figure)
        described = _described(figures, contestants)
        path = directory / f"{family.name}.svg"
        path.write_text(
            finished(svg.getvalue(), family.title, described),
            encoding="utf-8",
        )
        paths.append(path)
    return paths
