"""Time, beside the standard library in the same process.

The two take turns, and of each the shortest time counts: whatever else the
machine does makes it longer. A ratio above the limit is measured again, so
that only what is slow every time counts as slow.
"""

from __future__ import annotations

import gc
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from guards.operations import Operation

SECONDS = 0.2
ATTEMPTS = 5


async def check_ratio(
    operation: Operation, progress: Callable[[str], None]
) -> str | None:
    """Return what is wrong with how long it takes, or None."""
    best = await _ratio(operation)
    attempts = 1
    while best > operation.ratio and attempts < ATTEMPTS:
        best = min(best, await _ratio(operation))
        attempts += 1
    what = f"{best:.2f} of the standard library's time"
    limit = f"at most {operation.ratio:g}"
    progress(f"{operation.name}: {what}, {limit}")
    if best > operation.ratio:
        return f"{operation.name} takes {what}, and not {limit}"
    return None


async def _ratio(operation: Operation) -> float:
    ours = theirs = float("inf")
    gc.collect()
    gc.disable()
    try:
        end = time.perf_counter() + SECONDS
        while time.perf_counter() < end:
            operation.before_ours()
            start = time.perf_counter()
            await operation.ours()
            ours = min(ours, time.perf_counter() - start)
            operation.after_ours()
            operation.before_theirs()
            start = time.perf_counter()
            operation.theirs()
            theirs = min(theirs, time.perf_counter() - start)
            operation.after_theirs()
    finally:
        gc.enable()
    return ours / theirs
