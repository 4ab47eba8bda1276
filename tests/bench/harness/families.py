"""What a benchmark consists of: cases, contestants, figures and promises."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from collections.abc import Callable

    from harness.contestants import Answer


@dataclass(frozen=True)
class Case:
    """What is to be done, the same for every contestant.

    ``options`` go to the driver as they are. ``least`` is the fewest
    operations that may be measured; with ``count`` there are always so many,
    and no attempt is made to fill a length of time.
    """

    name: str
    title: str
    options: dict[str, object] = field(default_factory=dict)
    least: int = 1
    count: int | None = None


@dataclass(frozen=True)
class Contestant:
    """A way to do it: a file in ``peers``, and what is passed to it.

    ``peer`` is whose way it is, for ``--peers`` and for finding out whether it
    is installed: triobatch, trio, anyio, asyncio, uvloop, stdlib, qh3, go or
    c.
    ``cases`` names those that it takes part in, all when it is None.
    """

    name: str
    peer: str
    source: str
    arguments: tuple[str, ...] = ()
    cases: frozenset[str] | None = None

    def takes_part(self, case: Case) -> bool:
        """Return whether it is measured with ``case``."""
        return self.cases is None or case.name in self.cases


@dataclass(frozen=True)
class Figure:
    """A number made of an answer, such as microseconds a batch."""

    name: str
    unit: str
    of: Callable[[Answer], float]
    better: Literal["less", "more"] = "less"


@dataclass(frozen=True)
class Promise:
    """What an issue asks of ``ours`` beside the best of ``theirs``.

    ``faster`` wants at least ``bound`` times the speed, ``within`` at most
    ``bound`` times what they take.
    """

    case: str
    ours: str
    theirs: tuple[str, ...]
    kind: Literal["faster", "within"]
    bound: float
    figure: str = ""


def faster(
    bound: float, ours: str, *theirs: str, cases: list[str], figure: str = ""
) -> list[Promise]:
    """Promise at least ``bound`` times the speed, in each of ``cases``."""
    return [
        Promise(case, ours, theirs, "faster", bound, figure) for case in cases
    ]


def within(
    bound: float, ours: str, *theirs: str, cases: list[str], figure: str = ""
) -> list[Promise]:
    """Promise at most ``bound`` times their time, in each of ``cases``."""
    return [
        Promise(case, ours, theirs, "within", bound, figure) for case in cases
    ]


@dataclass(frozen=True)
class Family:
    """A benchmark: some cases, and those who are measured with each.

    Args:
      name: For ``--tests``, and the name of its charts.
      title: What a person would call it.
      contestants: In the order of the table. Figures are shown as ratios to
        the first, too.
      cases: In the order of the table.
      figures: The first is the one that matters.
      seconds: How long a measurement takes, unless the user says otherwise.
      check: Returns what is wrong with an answer, or None. It gets the case,
        the count that was asked for, and the answer.
      promises: What is printed as met or missed.
      sink: A source in ``peers`` that prints its port, which is passed to
        each contestant as its last argument.
      sink_each: Whether each contestant has a sink of its own.
      generator: A source in ``peers``: the contestants are servers, which
        print their port, and this is what is asked to measure each of them.
        It gets the port as its last argument.
      needs: Returns what this machine lacks for it, or None; the family is
        skipped then.
      chart: Bars, in a panel for each case; or a line for each contestant,
        where the names of the cases are numbers, along ``axis``.
      each: How many seconds a case with a ``count`` takes, about, where it is
        not ``seconds``.
      charted: The names of those in the chart; all when it is empty.
    """

    name: str
    title: str
    contestants: tuple[Contestant, ...]
    cases: tuple[Case, ...]
    figures: tuple[Figure, ...]
    seconds: float
    check: Callable[[Case, int, Answer], str | None]
    promises: tuple[Promise, ...] = ()
    sink: str | None = None
    sink_each: bool = False
    generator: str | None = None
    needs: Callable[[], str | None] = lambda: None
    chart: Literal["bars", "lines"] = "bars"
    axis: str = ""
    each: float = 0.0
    charted: tuple[str, ...] = ()
