"""A server that answers requests with a header and a body.

The contestants are servers. A C program is all their clients, each with one
request under way, or 16 sent together; it compares every byte of each
response, and never sleeps. The responses are 4.3 KB, or 64 bytes.

"Go, one processor" is for a machine that has more: the others of one process
and one thread have one each.

With one connection, a server that waits soon is asleep when the next request
comes, and has to be woken, which on a virtual machine takes longer than what
Trio does before it waits. That is why C is no limit there.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from harness.families import (
    Case,
    Contestant,
    Family,
    Figure,
    faster,
    within,
)

if TYPE_CHECKING:
    from harness.contestants import Answer

# As peers/responses.py has them.
REQUEST_SIZE = 64
RESPONSE_SIZE = 200 + 4096
SMALL_SIZE = 24 + 40
# Requests that are sent together.
PIPELINED = 16

GROUP = "triobatch group"
# What a group is not for.
GROUP_TASKS = "triobatch group, task a request"
TRIOBATCH = "triobatch send_buffers"
TRIO_EACH = "Trio send_all each"
TRIO_JOIN = "Trio send_all(join)"
STREAMS = ("asyncio writelines", "uvloop writelines")
PROTOCOL = "uvloop Protocol"
GO_ONE = "Go net.Buffers, one processor"
C = "C epoll, writev"


def check(case: Case, count: int, answer: Answer) -> str | None:
    """Find out whether every response arrived, as it should be."""
    # Whole batches of them.
    if not count <= answer["count"] < count + PIPELINED:
        return f"{answer['count']} responses, not {count}"
    expected = answer["count"] * int(str(case.options["response"]))
    if answer["bytes"] != expected:
        return f"{answer['bytes']} bytes arrived, not {expected}"
    if answer["wrong"]:
        return f"{answer['wrong']} bytes are not what was to be sent"
    return None


def cases(response: int, pipelined: int) -> tuple[Case, ...]:
    """Return a case for each number of connections."""
    return tuple(
        Case(
            f"{connections}",
            f"{connections} connection" + "s" * (connections > 1),
            {
                "connections": connections,
                "request": REQUEST_SIZE,
                "response": response,
                "pipelined": pipelined,
            },
            # Not fewer than one of each.
            least=connections * pipelined,
        )
        for connections in (1, 10, 100, 1000)
    )


NAMES = ["1", "10", "100", "1000"]
MANY = NAMES[1:]


def contestants(*size: str) -> tuple[Contestant, ...]:
    """Return the servers; ``size`` is an argument for all of them."""

    def server(
        name: str, peer: str, source: str, *arguments: str
    ) -> Contestant:
        return Contestant(name, peer, source, (*arguments, *size))

    return (
        server(GROUP, "triobatch", "triobatch_group.py"),
        server(GROUP_TASKS, "triobatch", "triobatch_group.py", "tasks"),
        server(TRIOBATCH, "triobatch", "triobatch_server.py"),
        server(TRIO_EACH, "trio", "trio_server.py", "each"),
        server(TRIO_JOIN, "trio", "trio_server.py", "join"),
        server("AnyIO send(join)", "anyio", "anyio_server.py"),
        server("stdlib threads, sendmsg", "stdlib", "stdlib_server.py"),
        server(STREAMS[0], "asyncio", "asyncio_server.py", "asyncio"),
        server(STREAMS[1], "uvloop", "asyncio_server.py", "uvloop"),
        server(PROTOCOL, "uvloop", "asyncio_protocol.py", "uvloop"),
        server("Go net.Buffers", "go", "go_server.go"),
        server(GO_ONE, "go", "go_server.go", "one"),
        server(C, "c", "c_server.c"),
    )


def family(
    name: str, title: str, response: int, pipelined: int, *size: str
) -> Family:
    """Return the family for responses of one size."""
    return Family(
        name=name,
        title=title,
        contestants=contestants(*size),
        cases=cases(response, pipelined),
        figures=(
            Figure(
                "rate",
                "requests a second",
                lambda answer: answer["count"] / answer["seconds"],
                better="more",
            ),
            Figure(
                "processor",
                "microseconds of the server's processor a request",
                lambda answer: answer["server_cpu"] / answer["count"] * 1e6,
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
        promises=(
            *faster(1, TRIOBATCH, TRIO_EACH, TRIO_JOIN, cases=NAMES),
            *faster(1.7, GROUP, TRIOBATCH, cases=MANY),
            *faster(1, GROUP, *STREAMS, cases=NAMES),
            *faster(0.95, GROUP, PROTOCOL, GO_ONE, cases=MANY),
            *faster(0.75, GROUP, C, cases=MANY[1:]),
            *within(1, GROUP, TRIOBATCH, cases=NAMES[:1], figure="processor"),
        ),
    )


FAMILIES = (
    family(
        "requests",
        "Requests answered with a header of 200 B and a body of 4 KiB",
        RESPONSE_SIZE,
        1,
    ),
    family(
        "requests-small",
        "Requests answered with 64 B",
        SMALL_SIZE,
        1,
        "small",
    ),
    family(
        "requests-pipelined",
        "Requests answered with 4.3 KB, 16 sent together",
        RESPONSE_SIZE,
        PIPELINED,
    ),
    family(
        "requests-small-pipelined",
        "Requests answered with 64 B, 16 sent together",
        SMALL_SIZE,
        PIPELINED,
        "small",
    ),
)
