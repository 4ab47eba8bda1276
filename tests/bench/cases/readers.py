"""Messages taken out of a stream, of which many come at a time.

A program in C sends lines as fast as they are taken; each contestant makes a
``bytes`` object of each. By ``receive_frames`` a piece of the program's own
splits what there is, all at once.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from harness.families import Case, Contestant, Family, Figure, faster

if TYPE_CHECKING:
    from harness.contestants import Answer

SOURCE = "stream_readers.py"
UNTIL = "receive_until"
FRAMES = "receive_frames"
LOOP = "Trio receive_some, find"
ASYNCIO = "asyncio readuntil"


def check(case: Case, count: int, answer: Answer) -> str | None:
    """Find out whether each message came, whole."""
    expected = count * int(str(case.options["size"]))
    if answer["count"] != count:
        return f"{answer['count']} messages came, not {count}"
    if answer["bytes"] != expected:
        return f"{answer['bytes']} bytes came, not {expected}"
    return None


FAMILY = Family(
    name="readers",
    title="Messages taken out of a stream",
    contestants=(
        Contestant(UNTIL, "triobatch", SOURCE, ("until",)),
        Contestant("receive_exactly", "triobatch", SOURCE, ("exactly",)),
        Contestant(FRAMES, "triobatch", SOURCE, ("frames",)),
        Contestant(LOOP, "trio", SOURCE, ("loop",)),
        Contestant(ASYNCIO, "asyncio", SOURCE, ("asyncio",)),
        Contestant("uvloop readuntil", "uvloop", SOURCE, ("uvloop",)),
        Contestant("C memchr", "c", "c_readers.c"),
    ),
    cases=tuple(
        Case(f"{size}", title, {"size": size}, least=16)
        for size, title in ((64, "lines of 64 B"), (4096, "lines of 4 KiB"))
    ),
    figures=(
        Figure(
            "time",
            "nanoseconds a message",
            lambda answer: answer["seconds"] / answer["count"] * 1e9,
        ),
        Figure(
            "processor",
            "nanoseconds of processor time a message",
            lambda answer: answer["cpu"] / answer["count"] * 1e9,
        ),
    ),
    seconds=0.05,
    check=check,
    sink="stream_source.c",
    sink_each=True,
    promises=(*faster(1, FRAMES, LOOP, cases=["64"]),),
)
