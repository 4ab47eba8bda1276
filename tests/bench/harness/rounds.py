"""The measuring: everyone is warmed up, then takes a turn in each round.

A machine drifts: its clock, its caches, who else is on it. So the contestants
take turns, A B C A B C, and the medians of one run may be compared with one
another. Those of different runs may not.
"""

from __future__ import annotations

import math
import os
import sys
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from harness.build import missing
from harness.bystanders import Bystanders
from harness.contestants import Answer, ContestantError, Driver

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from harness.build import Programs
    from harness.families import Case, Contestant, Family

# How many times as long as a measurement a warm-up takes, and how many seconds
# it takes to start a contestant and to end it: for what is said beforehand.
WARM_UP = 2.5
STARTING = 0.2


@dataclass
class Result:
    """What a family's contestants answered, by case and contestant."""

    family: Family
    answers: dict[str, dict[str, list[Answer]]] = field(default_factory=dict)
    failures: list[str] = field(default_factory=list)
    skipped: dict[str, str] = field(default_factory=dict)
    lacking: str | None = None
    bystanders: float = 0.0


class Seat:
    """A contestant in its process, with whom it needs beside it."""

    def __init__(
        self, driver: Driver, server: Driver | None, family: Family
    ) -> None:
        self._driver = driver
        self._server = server
        self._check = family.check

    def measure(self, case: Case, count: int, **more: object) -> Answer:
        """Have ``count`` operations done.

        Raises:
          ContestantError: they were not, or not all of it arrived.
        """
        before = self._server.cpu_seconds() if self._server else 0.0
        answer = self._driver.measure(
            case.name, count, **(case.options | more)
        )
        if self._server:
            answer["server_cpu"] = self._server.cpu_seconds() - before
        wrong = self._check(case, count, answer)
        if wrong is not None:
            name = (self._server or self._driver).name
            raise ContestantError(f"{name}, {case.title}: {wrong}")
        return answer

    def warm_up(self, case: Case, seconds: float) -> int:
        """Return how many operations take about ``seconds``."""
        count = case.count or case.least
        self.measure(case, count, verify=1)
        if case.count is not None:
            return count
        while True:
            spent = self.measure(case, count)["seconds"]
            wanted = count * seconds / max(spent, 1e-6)
            if spent >= seconds / 3:
                return max(case.least, round(wanted))
            count = min(math.ceil(wanted), 20 * count)


def _processors() -> tuple[set[int], set[int]]:
    """Return where contestants run, and where the other ends.

    The other end has the last processor to itself. Where the two may share
    one, the scheduler puts them together now and apart then, and a small
    batch takes 2 us or 10 accordingly, whoever sends it.
    """
    everywhere = os.sched_getaffinity(0)
    last = {max(everywhere)}
    return everywhere - last or last, last


def _take_seats(
    family: Family,
    contestants: list[Contestant],
    programs: Programs,
    stack: ExitStack,
    result: Result,
) -> dict[str, Seat]:
    """Start every process; the slow starts of many overlap."""
    ours, others = _processors()

    def start(
        name: str, where: set[int], source: str, *arguments: str
    ) -> Driver:
        driver = Driver(name, programs.command(source, *arguments), where)
        stack.callback(driver.end)
        return driver

    def port_of_sink() -> tuple[str, ...]:
        if family.sink is None:
            return ()
        sink = start(family.sink, others, family.sink)
        return (str(sink.read()["port"]),)

    shared = () if family.sink_each else port_of_sink()
    started = []
    for contestant in contestants:
        sink = port_of_sink() if family.sink_each else shared
        driver = start(
            contestant.name,
            ours,
            contestant.source,
            *contestant.arguments,
            *sink,
        )
        started.append(driver)
    seats = {}
    for driver in started:
        try:
            ready = driver.read()
            if family.generator is None:
                seats[driver.name] = Seat(driver, None, family)
            else:
                port = str(ready["port"])
                load = start(
                    f"load on {driver.name}", others, family.generator, port
                )
                load.read()
                seats[driver.name] = Seat(load, driver, family)
        except ContestantError as error:
            result.failures.append(str(error))
    return seats


def wanted(
    family: Family, peers: Collection[str] | None
) -> tuple[list[Contestant], dict[str, str]]:
    """Return who is measured, and how to install those that are missing."""
    there, skipped = [], {}
    for contestant in family.contestants:
        peer = contestant.peer
        if peers is not None and peer not in {*peers, "triobatch"}:
            continue
        if how := missing(peer):
            skipped[peer] = how
        else:
            there.append(contestant)
    return there, skipped


def expected(
    family: Family,
    peers: Collection[str] | None,
    rounds: int,
    seconds: float | None,
) -> float:
    """Return about how many seconds ``run_family`` will take."""
    if family.needs() is not None:
        return 0.0
    contestants, _ = wanted(family, peers)
    measured = sum(
        _length(family, case, seconds) * (rounds + WARM_UP)
        for case in family.cases
        for contestant in contestants
        if contestant.takes_part(case)
    )
    return measured + STARTING * len(contestants)


def _length(family: Family, case: Case, seconds: float | None) -> float:
    if case.count is not None:
        return family.each or family.seconds
    return family.seconds if seconds is None else seconds


def run_family(
    family: Family,
    programs: Programs,
    *,
    peers: Collection[str] | None,
    rounds: int,
    seconds: float | None,
    progress: Callable[[str, str, float], None],
) -> Result:
    """Measure every case of ``family`` with everyone who can take part.

    Args:
      family: What to measure.
      programs: Where contestants come from.
      peers: Whose ways are measured; triobatch's are always. None for all.
      rounds: How often each contestant is measured with each case.
      seconds: How long a measurement takes; None for what the family says.
      progress: Is called with the family's name, what is being done, and
        how many of the ``expected`` seconds are over since the last call.
    """
    result = Result(family)
    result.lacking = family.needs()
    if result.lacking is not None:
        return result
    there, result.skipped = wanted(family, peers)
    bystanders = Bystanders()

    def show(what: str, over: float) -> None:
        progress(family.name, what, over)

    with ExitStack() as stack:
        show(f"starting {len(there)} contestants", 0)
        seats = _take_seats(family, there, programs, stack, result)
        show("started", STARTING * len(there))
        for case in family.cases:
            seated = [
                contestant.name
                for contestant in there
                if contestant.name in seats and contestant.takes_part(case)
            ]
            length = _length(family, case, seconds)
            result.answers[case.name] = _run_case(
                case, seated, seats, rounds, length, result, show
            )
    result.bystanders = bystanders.share()
    return result


def _run_case(
    case: Case,
    names: list[str],
    seats: dict[str, Seat],
    rounds: int,
    seconds: float,
    result: Result,
    progress: Callable[[str, float], None],
) -> dict[str, list[Answer]]:
    answers: dict[str, list[Answer]] = {}
    counts = {}

    def fail(name: str, error: ContestantError) -> None:
        print(f"\nfailed: {error}", file=sys.stderr)
        result.failures.append(str(error))
        # What it answered is no worse for it, but it is out of the run.
        del seats[name]
        counts.pop(name, None)

    for name in names:
        progress(f"{case.title}: warming up {name}", WARM_UP * seconds)
        try:
            counts[name] = seats[name].warm_up(case, seconds)
        except ContestantError as error:
            fail(name, error)
    for number in range(1, rounds + 1):
        for name, count in list(counts.items()):
            progress(f"{case.title}: round {number} of {rounds}", seconds)
            try:
                answer = seats[name].measure(case, count)
            except ContestantError as error:
                fail(name, error)
            else:
                answers.setdefault(name, []).append(answer)
    return answers
