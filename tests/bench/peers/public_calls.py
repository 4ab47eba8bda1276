"""Every public call that sends or receives, of some revision.

    public_calls.py DIRECTORY           be measured
    public_calls.py --list DIRECTORY    print the calls that can be done

``triobatch`` is imported from the directory. How each call is done is told by
this revision's ``guards`` either way.
"""

from __future__ import annotations

import gc
import sys
import time
from pathlib import Path

LIST = "--list" in sys.argv[1:]
sys.path[:0] = [
    *(word for word in sys.argv[1:] if word != "--list"),
    str(Path(__file__).resolve().parents[1]),
]

# They are found, and whose they are, by the path above.
import trio  # noqa: E402
from guards import public_calls  # noqa: E402
from measuring import answer, requests  # noqa: E402

import triobatch  # noqa: E402


def name_of(row: tuple[str, int]) -> str:
    """Return a row as one word."""
    return "{}:{}".format(*row)


async def works(row: tuple[str, int]) -> bool:
    """Try it: an earlier revision may not have it, or not like this."""
    try:
        async with public_calls.opened(*row) as way:
            with trio.fail_after(5):
                way.prepare()
                await way.ours()
                await way.clean_up()
    except Exception as error:  # noqa: BLE001 (whatever it is, it is missing)
        print(f"{name_of(row)}: {error!r}", file=sys.stderr)
        return False
    return True


async def list_rows() -> None:
    """Print what can be measured."""
    # With one item tells of the others.
    names = [name for name in public_calls.WAYS if await works((name, 1))]
    answer(names=names, core=triobatch.capabilities().core)


async def measure() -> None:
    """Answer how long each takes, in processor time: others are about."""
    rows = {name_of(row): row for row in public_calls.rows()}
    clock = time.thread_time
    for request in requests():
        async with public_calls.opened(*rows[request.case]) as way:
            seconds = 0.0
            gc.collect()
            gc.disable()
            for _ in range(request.count):
                way.prepare()
                start = clock()
                await way.ours()
                seconds += clock() - start
                await way.clean_up()
            gc.enable()
        answer(seconds=seconds, count=request.count)


if __name__ == "__main__":
    trio.run(list_rows if LIST else measure)
