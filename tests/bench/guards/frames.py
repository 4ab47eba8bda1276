"""Python frames of an operation: no margin.

Each function of triobatch that is entered is a frame, each of its coroutines
that goes on after a checkpoint, and each function of the standard library on
its behalf. What Trio does is left out: that is its versions'. Versions of
Python differ by a few, and the limits are of the largest.
"""

from __future__ import annotations

import gc
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import trio

import triobatch

if TYPE_CHECKING:
    from types import FrameType

    from guards.ways import Way

WARM_UP = 5
REPETITIONS = 10
OURS = str(Path(triobatch.__file__).parent)
OTHERS = tuple(str(Path(file).parent) for file in (trio.__file__, __file__))


async def count_frames(way: Way) -> int:
    """Return how many it takes, once it has been done a few times."""
    gc.collect()
    gc.disable()
    try:
        found = [await _once(way) for _ in range(WARM_UP + REPETITIONS)]
    finally:
        gc.enable()
    return min(found[WARM_UP:])


async def _once(way: Way) -> int:
    count = 0

    def see(frame: FrameType, event: str, _: object) -> None:
        nonlocal count
        if event == "call":
            count += _is_ours(frame)

    way.prepare()
    sys.setprofile(see)
    try:
        await way.ours()
    finally:
        sys.setprofile(None)
    await way.clean_up()
    return count


def _is_ours(frame: FrameType | None) -> bool:
    """Return whether triobatch is what it runs for."""
    while frame is not None:
        file = frame.f_code.co_filename
        if file.startswith(OURS):
            return True
        if file.startswith(OTHERS):
            return False
        frame = frame.f_back
    return False
