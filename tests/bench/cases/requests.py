"""A server that answers requests with a header and a body.

The contestants are servers. A C program is all their clients, each with one
request under way; it compares every byte of each response, and never sleeps.

With one connection, a server that waits soon is asleep when the next request
comes, and has to be woken, which on a virtual machine takes longer than what
Trio does before it waits. That is why C is no limit there.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from harness.families import Case, Contestant, Family, Figure, faster

if TYPE_CHECKING:
    from harness.contestants import Answer

# As peers/responses.py has them.
REQUEST_SIZE = 64
RESPONSE_SIZE = 200 + 4096

TRIOBATCH = "triobatch send_buffers"
TRIO_EACH = "Trio send_all each"
TRIO_JOIN = "Trio send_all(join)"


def check(case: Case, count: int, answer: Answer) -> str | None:
    """Find out whether every response arrived, as it should be."""
    expected = count * RESPONSE_SIZE
    if answer["bytes"] != expected:
        return f"{answer['bytes']} bytes arrived, not {expected}"
    if answer["wrong"]:
        return f"{answer['wrong']} bytes are not what was to be sent"
    return None


CASES = tuple(
    Case(
        f"{connections}",
        f"{connections} connection" + "s" * (connections > 1),
        {
            "connections": connections,
            "request": REQUEST_SIZE,
            "response": RESPONSE_SIZE,
        },
        # Not fewer than one of each.
        least=connections,
    )
    for connections in (1, 10, 100, 1000)
)
NAMES = [case.name for case in CASES]

FAMILY = Family(
    name="requests",
    title="Requests answered with a header of 200 B and a body of 4 KiB",
    contestants=(
        Contestant(TRIOBATCH, "triobatch", "triobatch_server.py"),
        Contestant(TRIO_EACH, "trio", "trio_server.py", ("each",)),
        Contestant(TRIO_JOIN, "trio", "trio_server.py", ("join",)),
        Contestant("AnyIO send(join)", "anyio", "anyio_server.py"),
        Contestant("stdlib threads, sendmsg", "stdlib", "stdlib_server.py"),
        Contestant(
            "asyncio writelines", "asyncio", "asyncio_server.py", ("asyncio",)
        ),
        Contestant(
            "uvloop writelines", "uvloop", "asyncio_server.py", ("uvloop",)
        ),
        Contestant("Go net.Buffers", "go", "go_server.go"),
        Contestant("C epoll, writev", "c", "c_server.c"),
    ),
    cases=CASES,
    figures=(
        Figure(
            "rate",
            "requests a second",
            lambda answer: answer["count"] / answer["seconds"],
            better="more",
        ),
        Figure(
            "median",
            "microseconds to the response, median",
            lambda answer: answer["p50"],
        ),
        Figure(
            "99 %",
            "microseconds to the response, 99th percentile",
            lambda answer: answer["p99"],
        ),
    ),
    seconds=0.1,
    check=check,
    generator="load.c",
    chart="lines",
    axis="connections",
    promises=(*faster(1, TRIOBATCH, TRIO_EACH, TRIO_JOIN, cases=NAMES),),
)
