"""One message to many connections.

The time of some broadcasts, one after the other, ends when the sink has
acknowledged on a connection of its own that every other one has got all of
them. Each contestant has a sink of its own.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from harness.families import Case, Contestant, Family, Figure, faster, within

if TYPE_CHECKING:
    from harness.contestants import Answer

SIZE = 200
BROADCAST = "broadcast"
TRIO = "Trio loop of send_all"
C = "C loop of send"


def check(case: Case, count: int, answer: Answer) -> str | None:
    """Find out whether everyone got all of it."""
    connections = case.options["connections"]
    assert isinstance(connections, int)
    expected = count * connections * SIZE
    if answer["bytes"] != expected:
        return f"{answer['bytes']} bytes arrived, not {expected}"
    if answer["wrong"]:
        return f"{answer['wrong']} bytes are not what was sent"
    return None


CASES = tuple(
    Case(
        f"{connections}",
        f"{SIZE} B to {connections}",
        {"connections": connections, "size": SIZE},
    )
    for connections in (10, 100, 500)
)

FAMILY = Family(
    name="broadcast",
    title="Broadcast",
    contestants=(
        Contestant(BROADCAST, "triobatch", "triobatch_broadcast.py"),
        Contestant(TRIO, "trio", "trio_broadcast.py", ("loop",)),
        Contestant(
            "Trio send_all in a nursery",
            "trio",
            "trio_broadcast.py",
            ("nursery",),
        ),
        Contestant("AnyIO loop of send", "anyio", "anyio_broadcast.py"),
        Contestant("stdlib loop of sendall", "stdlib", "stdlib_broadcast.py"),
        Contestant(
            "asyncio loop of write",
            "asyncio",
            "asyncio_broadcast.py",
            ("asyncio",),
        ),
        Contestant(
            "uvloop loop of write",
            "uvloop",
            "asyncio_broadcast.py",
            ("uvloop",),
        ),
        Contestant("Go loop of Write", "go", "go_broadcast.go"),
        Contestant(C, "c", "c_broadcast.c"),
    ),
    cases=CASES,
    figures=(
        Figure(
            "time",
            "microseconds a broadcast",
            lambda answer: answer["seconds"] / answer["count"] * 1e6,
        ),
    ),
    seconds=0.06,
    check=check,
    sink="broadcast_sink.c",
    sink_each=True,
    promises=(
        *faster(2.5, BROADCAST, TRIO, cases=["500"]),
        *within(1.5, BROADCAST, C, cases=["500"]),
    ),
)
