"""A relay of streams, which hands on what comes, and looks at none of it.

A program in C is both its ends. ``bulk`` is one direction, as fast as it goes,
and ``turns`` is a message there and back, and then the next: what a proxy adds
to each request.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from harness.families import Case, Contestant, Family, Figure, within

if TYPE_CHECKING:
    from harness.contestants import Answer

OURS = "relay"
LOOP = "Trio receive_some, send_all"
C = "C splice"


def check(case: Case, count: int, answer: Answer) -> str | None:
    """Find out whether each block came out, as it went in."""
    expected = count * int(str(case.options["block"]))
    if answer["bytes"] != expected:
        return f"{answer['bytes']} bytes came, not {expected}"
    if answer["wrong"]:
        return f"{answer['wrong']} bytes are not what was sent"
    return None


FAMILY = Family(
    name="relay",
    title="Relaying a stream",
    contestants=(
        Contestant(OURS, "triobatch", "stream_relays.py", ("triobatch",)),
        Contestant(LOOP, "trio", "stream_relays.py", ("loop",)),
        Contestant(
            "asyncio streams", "asyncio", "stream_relays.py", ("asyncio",)
        ),
        Contestant(
            "uvloop streams", "uvloop", "stream_relays.py", ("uvloop",)
        ),
        Contestant("Go io.Copy", "go", "go_relay.go"),
        Contestant(C, "c", "c_relay.c"),
    ),
    cases=(
        Case("bulk", "blocks of 64 KiB", {"block": 65536}),
        Case("turns", "200 B, there and back", {"block": 200}),
    ),
    figures=(
        Figure(
            "time",
            "microseconds a block",
            lambda answer: answer["seconds"] / answer["count"] * 1e6,
        ),
        Figure(
            "processor",
            "microseconds of the relay's processor time a block",
            lambda answer: answer["server_cpu"] / answer["count"] * 1e6,
        ),
    ),
    seconds=0.1,
    check=check,
    generator="stream_relay_load.c",
    promises=(*within(1, OURS, LOOP, cases=["bulk"], figure="processor"),),
)
