"""Fail on a large loss of speed; for ``.ci/run``, in about a minute.

    python tests/bench/guard.py
    python tests/bench/guard.py --record

Counts of system calls, of Python frames and of allocated bytes are exact, for
every public call that sends or receives: ``guards/public_calls.py`` says how
to lower what is allowed. Ratios to the standard library have a wide margin, at
least twice what is usual, so that a busy machine does not fail: a benchmark is
``run.py``, and ``against.py`` compares with an earlier revision.
"""

from __future__ import annotations

import argparse
import contextlib
import sys
import time
from typing import TYPE_CHECKING

import trio
from guards import public_calls
from guards.allocations import check_allocations, peak_of
from guards.datagram_operations import datagram_operations
from guards.frames import count_frames
from guards.operations import Place
from guards.public_calls import Cost
from guards.ratios import check_ratio
from guards.stream_operations import stream_operations
from guards.system_calls import (
    check_system_calls,
    count_system_calls,
    do_between_marks,
    fewest,
    untraceable,
)

import triobatch

if TYPE_CHECKING:
    from guards.operations import Operation
    from guards.public_calls import Costs
    from guards.system_calls import Counts


def show(line: str = "") -> None:
    """Print at once: it takes a while."""
    print(line, flush=True)


async def operations(stack: contextlib.AsyncExitStack) -> list[Operation]:
    """Return what is guarded beside the public calls, one by one."""
    place = Place(stack)
    return [
        *await stream_operations(place),
        *await datagram_operations(place),
    ]


async def trace() -> None:
    """Do everything between marks: operations first, then public calls."""
    async with contextlib.AsyncExitStack() as stack:
        guarded = await operations(stack)
        for number, operation in enumerate(guarded):
            await do_between_marks(number, operation)
    for number, row in enumerate(public_calls.rows(), len(guarded)):
        async with public_calls.opened(*row) as way:
            await do_between_marks(number, way)


async def count(traced: dict[int, Counts] | None, first: int) -> Costs:
    """Return what each public call costs, with each number of items.

    Where nothing can be traced, system calls are as many as are allowed.
    """
    costs = {}
    allowed = public_calls.limits()
    for number, row in enumerate(public_calls.rows(), first):
        async with public_calls.opened(*row) as way:
            frames = await count_frames(way)
            peak = await peak_of(way)
        calls = allowed[row].system_calls if row in allowed else 0
        if traced is not None:
            calls = fewest(traced[number])
        costs[row] = Cost(frames, calls, peak)
    return costs


async def guard(record: str | None) -> list[str]:
    """Return what is wrong."""
    wrong: list[str] = []
    traced = None
    if why := untraceable():
        if record is not None:
            sys.exit(f"what cannot be counted cannot be recorded: {why}")
        show(f"system calls are not counted: {why}")
    else:
        traced = count_system_calls(__file__, "--traced")
    async with contextlib.AsyncExitStack() as stack:
        guarded = await operations(stack)
        if traced is not None:
            show("System calls")
            for number, operation in enumerate(guarded):
                counts = traced.get(number, [])
                wrong += check_system_calls(operation, counts, show)
        show("\nAllocations")
        for operation in guarded:
            wrong += await check_allocations(operation, show)
        show("\nTime")
        for operation in guarded:
            slow = await check_ratio(operation, show)
            if slow is not None:
                wrong.append(slow)
        show(f"\nFrames, system calls, bytes of {public_calls.ITEMS} items")
        costs = await count(traced, len(guarded))
        if record is not None:
            public_calls.record(costs, larger=record == "larger")
        wrong += public_calls.check(costs, show)
    return wrong


def main() -> int:
    """Return the status to exit with."""
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--record",
        nargs="?",
        choices=("now", "larger"),
        const="now",
        help="allow public calls what they cost now; or what they cost here, "
        "with this Python, where that is more",
    )
    parser.add_argument(
        "--traced", action="store_true", help=argparse.SUPPRESS
    )
    options = parser.parse_args()
    if options.traced:
        trio.run(trace)
        return 0
    show("this takes about a minute\n")
    start = time.monotonic()
    wrong = trio.run(guard, options.record)
    print(f"\n{triobatch.capabilities()}")
    for line in wrong:
        print(f"WRONG: {line}")
    print(f"{len(wrong)} wrong, in {time.monotonic() - start:.0f} s")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
