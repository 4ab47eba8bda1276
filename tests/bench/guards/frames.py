"""Python frames of an operation: no margin.

Each function of triobatch that is entered is a frame, each of its coroutines
that goes on after a checkpoint, and each function of the standard library on
its behalf. What Trio does is left out: that is its versions'. Versions of
Python differ by a few, and the limits are of the largest.
"""

from __future__ import annotations

import gc
import sys
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

import trio

import triobatch

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import FrameType

    from guards.public_calls import PublicCall

WARM_UP = 5
REPETITIONS = 5
OURS = str(Path(triobatch.__file__).parent)
OTHERS = tuple(str(Path(file).parent) for file in (trio.__file__, __file__))


async def check_frames(
    call: PublicCall, progress: Callable[[str], None]
) -> str | None:
    """Return what is wrong with how many frames it takes, or None."""
    found = await count_frames(call)
    what = f"{found} frames of Python"
    progress(f"{call.name}: {what}, allowed {call.frames}")
    if found > call.frames:
        return f"{call.name} takes {what}, and not at most {call.frames}"
    return None


async def count_frames(call: PublicCall) -> int:
    """Return how many it takes, once it has been done a few times."""
    gc.collect()
    gc.disable()
    try:
        found = [await _once(call) for _ in range(WARM_UP + REPETITIONS)]
    finally:
        gc.enable()
    return Counter(found[WARM_UP:]).most_common(1)[0][0]


async def _once(call: PublicCall) -> int:
    count = 0

    def see(frame: FrameType, event: str, _: object) -> None:
        nonlocal count
        if event == "call":
            count += _is_ours(frame)

    call.before_ours()
    sys.setprofile(see)
    try:
        await call.ours()
    finally:
        sys.setprofile(None)
    call.after_ours()
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
