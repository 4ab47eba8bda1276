"""Memory that an operation allocates, by tracemalloc: no margin.

Once a few have been done, one more never has more than so many bytes at a
time, those that it returns included, and leaves nothing behind. The versions
of Python differ by some hundred bytes, and the limits are of the largest.
"""

from __future__ import annotations

import gc
import tracemalloc
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from guards.operations import Operation
    from guards.ways import Way

WARM_UP = 20
REPETITIONS = 100
# A reference count and a type, in bytes.
SMALLEST_OBJECT = 16
ATTEMPTS = 3


async def check_allocations(
    operation: Operation, progress: Callable[[str], None]
) -> list[str]:
    """Return what is wrong with what it allocates."""
    tracemalloc.start()
    try:
        await _repeat(operation, WARM_UP)
        peak = min([await _peak(operation) for _ in range(ATTEMPTS)])
        left = min([await _left(operation) for _ in range(ATTEMPTS)])
    finally:
        tracemalloc.stop()
    progress(
        f"{operation.name}: {peak:,} bytes, allowed {operation.peak:,}; "
        f"{left} bytes left behind by {REPETITIONS}"
    )
    wrong = []
    if peak > operation.peak:
        wrong.append(
            f"{operation.name} allocates {peak:,} bytes, "
            f"and not at most {operation.peak:,}"
        )
    # Python itself keeps some objects for later, one now and one then. What
    # each operation leaves is an object, and none is smaller.
    if left >= SMALLEST_OBJECT * REPETITIONS:
        wrong.append(
            f"{operation.name} leaves {left:,} bytes behind "
            f"when it is done {REPETITIONS} times"
        )
    return wrong


async def peak_of(way: Way) -> int:
    """Return the bytes that it has allocated at most at a time."""
    tracemalloc.start()
    try:
        await _repeat(way, WARM_UP)
        return min([await _peak(way) for _ in range(ATTEMPTS)])
    finally:
        tracemalloc.stop()


async def _repeat(operation: Way, count: int) -> None:
    for _ in range(count):
        operation.prepare()
        await operation.ours()
        await operation.clean_up()


async def _peak(operation: Way) -> int:
    """Return the bytes at most."""
    operation.prepare()
    gc.collect()
    before, _ = tracemalloc.get_traced_memory()
    tracemalloc.reset_peak()
    await operation.ours()
    _, peak = tracemalloc.get_traced_memory()
    await operation.clean_up()
    return peak - before


async def _left(operation: Way) -> int:
    gc.collect()
    before, _ = tracemalloc.get_traced_memory()
    await _repeat(operation, REPETITIONS)
    gc.collect()
    return tracemalloc.get_traced_memory()[0] - before
