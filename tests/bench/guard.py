"""Fail on a large loss of speed; for ``.ci/run``, in less than a minute.

    python tests/bench/guard.py

Counts of system calls, of Python frames and of allocated bytes have no margin:
``guards/public_calls.py`` says how to lower what is allowed. Ratios to the
standard library have a wide one, at least twice what is usual, so that a busy
machine does not fail: a benchmark is ``run.py``.
"""

from __future__ import annotations

import contextlib
import sys
import time

import trio
from guards.allocations import check_allocations
from guards.datagram_operations import datagram_operations
from guards.frames import check_frames
from guards.operations import Place
from guards.public_calls import public_calls
from guards.ratios import check_ratio
from guards.stream_operations import stream_operations
from guards.system_calls import check_system_calls, do_between_marks

import triobatch


def show(line: str) -> None:
    """Print at once: it takes a while."""
    print(line, flush=True)


async def guard(*, traced: bool) -> list[str]:
    """Return what is wrong."""
    wrong: list[str] = []
    async with contextlib.AsyncExitStack() as stack:
        place = Place(stack)
        operations = [
            *await stream_operations(place),
            *await datagram_operations(place),
        ]
        calls = public_calls(place)
        if traced:
            await do_between_marks([*operations, *calls])
            return wrong
        show("System calls")
        wrong += check_system_calls([*operations, *calls], __file__, show)
        show("\nFrames")
        for call in calls:
            many = await check_frames(call, show)
            if many is not None:
                wrong.append(many)
        show("\nAllocations")
        for operation in operations:
            wrong += await check_allocations(operation, show)
        show("\nTime")
        for operation in operations:
            slow = await check_ratio(operation, show)
            if slow is not None:
                wrong.append(slow)
    return wrong


def main() -> int:
    """Return the status to exit with."""
    start = time.monotonic()
    wrong = trio.run(lambda: guard(traced="--traced" in sys.argv[1:]))
    if "--traced" in sys.argv[1:]:
        return 0
    print(f"\n{triobatch.capabilities()}")
    for line in wrong:
        print(f"WRONG: {line}")
    count = len(wrong)
    print(f"{count} wrong, in {time.monotonic() - start:.0f} s")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
