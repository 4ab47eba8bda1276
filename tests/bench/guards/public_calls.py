"""What a public call costs by itself: frames, system calls and memory.

Where there is one item, or there are four, neither the kernel nor the memory
is what takes the time, but the Python functions on the way. So their number
is limited, for 1, 4, 16 and 64 items, exactly: there is no noise in it, and no
busy machine. Waits are no part of it: there is room, or something is there.

The limits, in ``public_calls.json``, are what was counted when they were set,
so one frame more fails. Work that makes a call cheaper lowers them, in the
same commit: ``guard.py --record`` writes down what it counts, and ``--record
larger`` with another version of Python what that needs beyond. To raise one,
say in the commit what the new frame is for.
"""

from __future__ import annotations

import contextlib
import inspect
import json
import re
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import triobatch
from guards import datagram_ways, sender_ways, stream_ways
from guards.operations import Place
from triobatch import lowlevel

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from guards.ways import Way

ITEMS = (1, 4, 16, 64)
LIMITS = Path(__file__).with_suffix(".json")
# What a call that moves bytes or datagrams is called.
MOVES = re.compile(
    r"(send|receive|recv|broadcast|relay|flush|queue_|queue$|p?read|p?write)"
)
# They move nothing, or are no call of their own.
OTHERS = {
    "BatchSocketStream.send_eof",
    "BufferedReceiveStream.send_eof",
    "SharedStream.send_eof",
}

# Versions of Python differ by so many bytes.
SLACK = 256

WAYS = {**stream_ways.WAYS, **datagram_ways.WAYS, **sender_ways.WAYS}


@dataclass(frozen=True)
class Cost:
    """Frames of ours, system calls, and the bytes allocated at most.

    A checkpoint is one system call.
    """

    frames: int
    system_calls: int
    peak: int

    def with_more_of(self, other: Cost) -> Cost:
        """Return the larger of each."""
        return Cost(
            max(self.frames, other.frames),
            max(self.system_calls, other.system_calls),
            max(self.peak, other.peak),
        )


Costs = dict[tuple[str, int], Cost]


def found() -> set[str]:
    """Return every public call that sends or receives."""
    calls = set()
    for prefix, module in (("", triobatch), ("lowlevel.", lowlevel)):
        for name in module.__all__:
            member = getattr(module, name)
            if inspect.isclass(member) and not inspect.isabstract(member):
                calls |= {
                    f"{name}.{method}"
                    for method, _ in inspect.getmembers(
                        member, inspect.isfunction
                    )
                    if MOVES.match(method)
                }
            elif inspect.isfunction(member) and MOVES.match(name):
                calls.add(prefix + name)
    return calls - OTHERS


def rows() -> list[tuple[str, int]]:
    """Return each call that has a way, with each number of items."""
    return [(name, count) for name in WAYS for count in ITEMS]


def limits() -> Costs:
    """Return what each may cost."""
    return {
        (name, count): Cost(
            *(cost[what][place] for what in ("frames", "system_calls", "peak"))
        )
        for name, cost in json.loads(LIMITS.read_text()).items()
        for place, count in enumerate(ITEMS)
    }


def record(costs: Costs, *, larger: bool) -> None:
    """Make what was counted the limits; where it is ``larger``, or anyway."""
    if larger:
        allowed = limits()
        costs = {
            row: cost.with_more_of(allowed.get(row, cost))
            for row, cost in costs.items()
        }
    lines = []
    for name in sorted({name for name, _ in costs}):
        each = [asdict(costs[name, count]) for count in ITEMS]
        cost = {what: [one[what] for one in each] for what in each[0]}
        lines.append(f" {json.dumps(name)}: {json.dumps(cost)}")
    LIMITS.write_text("{\n" + ",\n".join(lines) + "\n}\n")


def check(costs: Costs, progress: Callable[[str], None]) -> list[str]:
    """Return what costs more than it may."""
    wrong = []
    allowed = limits()
    for name in WAYS:
        each = [costs[name, count] for count in ITEMS]
        shown = (
            "/".join(f"{getattr(cost, what):,}" for cost in each)
            for what in ("frames", "system_calls", "peak")
        )
        progress(f"{name}: {'  '.join(shown)}")
    for row, cost in costs.items():
        limit = allowed.get(row)
        what = "{}, {}".format(*row)
        if limit is None:
            wrong.append(f"{what} has no limit yet: --record")
            continue
        for unit, have, most in (
            ("frames of Python", cost.frames, limit.frames),
            ("system calls", cost.system_calls, limit.system_calls),
            ("bytes", cost.peak, limit.peak + SLACK),
        ):
            if have > most:
                wrong.append(
                    f"{what} takes {have:,} {unit}, and not at most {most:,}"
                )
    return wrong


@contextlib.asynccontextmanager
async def opened(name: str, count: int) -> AsyncIterator[Way]:
    """Have what the call needs, and close it afterwards."""
    async with contextlib.AsyncExitStack() as stack:
        yield await WAYS[name](Place(stack), count)
