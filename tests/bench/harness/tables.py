"""What was measured, as text: medians, spreads, ratios, promises."""

from __future__ import annotations

import statistics
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from harness.families import Figure, Promise
    from harness.rounds import Result

WIDTH = 110


def medians(result: Result, figure: Figure) -> dict[str, dict[str, float]]:
    """Return the median of ``figure``, by case and contestant."""
    return {
        case: {
            name: statistics.median(map(figure.of, answers))
            for name, answers in by_name.items()
        }
        for case, by_name in result.answers.items()
    }


def _spread(values: list[float]) -> float:
    """Return the distance between the quartiles, in parts of the median."""
    if len(values) < 2:
        return 0.0
    low, middle, high = statistics.quantiles(values, n=4, method="inclusive")
    return (high - low) / middle if middle else 0.0


def _number(value: float) -> str:
    if value >= 1000:
        return f"{value:,.0f}"
    return f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def table(result: Result, figure: Figure) -> str:
    """Return a line for each contestant, and a column for each case.

    A cell is the median, the distance between the quartiles in per cent of
    it, and the ratio to the first contestant.
    """
    family = result.family
    by_case = medians(result, figure)
    first = family.contestants[0].name
    names = [
        contestant.name
        for contestant in family.contestants
        if any(contestant.name in row for row in by_case.values())
    ]
    margin = max(map(len, names), default=0) + 2
    cell = 22
    across = max(1, (WIDTH - margin) // cell)
    lines = [
        f"{family.title}: {figure.unit} ({figure.better} is better)",
        f"  median, quartile distance, ratio to {first}",
    ]
    cases = family.cases
    for start in range(0, len(cases), across):
        shown = cases[start : start + across]
        lines.append("")
        lines.append(
            " " * margin + "".join(f"{case.title:>{cell}}" for case in shown)
        )
        for name in names:
            line = f"{name:{margin}}"
            for case in shown:
                median = by_case[case.name].get(name)
                if median is None:
                    line += f"{'-':>{cell}}"
                    continue
                values = [
                    figure.of(answer)
                    for answer in result.answers[case.name][name]
                ]
                reference = by_case[case.name].get(first)
                ratio = f"{median / reference:6.2f}x" if reference else ""
                line += (
                    f"{_number(median):>10}{_spread(values):>5.0%}{ratio:>7}"
                )
            lines.append(line.rstrip())
    return "\n".join(lines)


def ratio(result: Result, promise: Promise) -> tuple[float, str] | None:
    """Return the ratio that ``promise`` is about, and to whom.

    It is to the best of those that took part; None when nobody did.
    """
    figures = {figure.name: figure for figure in result.family.figures}
    figure = figures[promise.figure or result.family.figures[0].name]
    row = medians(result, figure).get(promise.case, {})
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


def promises(result: Result) -> tuple[str, int]:
    """Return a line for each promise, and how many are missed."""
    family = result.family
    if not family.promises:
        return "", 0
    titles = {case.name: case.title for case in family.cases}
    lines = [f"{family.title}: what is promised"]
    count_missed = 0
    for promise in family.promises:
        measured = ratio(result, promise)
        if measured is None:
            continue
        value, best = measured
        if promise.kind == "faster":
            met = value >= promise.bound
            what = f"at least {promise.bound:g}x as fast as"
        else:
            met = value <= promise.bound
            what = f"at most {promise.bound:g}x the time of"
        if promise.figure:
            what = f"({promise.figure}) {what}"
        count_missed += not met
        lines.append(
            f"  {'met   ' if met else 'MISSED'} {value:6.2f}x  "
            f"{titles[promise.case]}: {promise.ours} {what} {best}"
        )
    return "\n".join(lines), count_missed
