"""Memory: what an idle connection takes, and what waits to be sent.

What a process grows by, in RAM that no other process has; the kernel's share
is not in it. What is made in one round is kept in the next.

**Idle**: TCP connections that a server has accepted, each with a task, a
goroutine or a handler that waits for the first byte; and UDP sockets that have
received one datagram and wait for the next. **Queued**: messages that are made
anew, and queued on a connection whose peer does not read, or in the library's
own queue if it has one. A ``deque`` shows what the messages take themselves.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from harness.families import Case, Contestant, Family, Figure

if TYPE_CHECKING:
    from harness.contestants import Answer


def check(_case: Case, count: int, answer: Answer) -> str | None:
    """Find out whether all were opened or queued, and took anything."""
    if answer["count"] != count:
        return f"{answer['count']} were made, not {count}"
    if answer["memory"] <= 0:
        return "they took no memory"
    return None


KIB_EACH = Figure(
    "memory",
    "KiB each",
    lambda answer: answer["memory"] / answer["count"] / 1024,
)

IDLE = Family(
    name="memory-idle",
    title="Memory of what is idle",
    contestants=(
        Contestant("triobatch", "triobatch", "triobatch_memory.py", ("idle",)),
        Contestant(
            "triobatch group",
            "triobatch",
            "triobatch_memory.py",
            ("idle-group",),
            frozenset({"tcp"}),
        ),
        Contestant("Trio", "trio", "trio_memory.py", ("idle",)),
        Contestant("AnyIO on Trio", "anyio", "anyio_memory.py", ("idle",)),
        Contestant(
            "asyncio", "asyncio", "asyncio_memory.py", ("asyncio", "idle")
        ),
        Contestant(
            "uvloop", "uvloop", "asyncio_memory.py", ("uvloop", "idle")
        ),
        Contestant("Go", "go", "go_memory.go", ("idle",)),
    ),
    cases=(
        Case("tcp", "TCP connection", count=400),
        Case("udp", "UDP socket", count=100),
    ),
    figures=(KIB_EACH,),
    seconds=0,
    each=0.3,
    check=check,
    sink="idle_peers.c",
    # Together they would have more connections than a process may have files.
    sink_each=True,
)

QUEUED = 2 << 20
BYTES_A_BYTE = Figure(
    "memory",
    "bytes of memory a byte that is queued",
    lambda answer: answer["memory"] / QUEUED,
)


def queued(size: int, title: str) -> Case:
    """Return the case of messages of ``size`` bytes."""
    return Case(f"by{size}", title, {"size": size}, count=QUEUED // size)


QUEUES = Family(
    name="memory-queued",
    title="Memory of what is queued",
    contestants=(
        *(
            Contestant(name, "triobatch", "triobatch_memory.py", arguments)
            for name, arguments in (
                ("BatchSender", ("queue", "sender")),
                ("Buffers", ("queue", "buffers")),
                ("Datagrams", ("queue", "datagrams")),
            )
        ),
        Contestant(
            "Trio memory channel", "trio", "trio_memory.py", ("queue",)
        ),
        Contestant(
            "asyncio write",
            "asyncio",
            "asyncio_memory.py",
            ("asyncio", "queue"),
        ),
        Contestant(
            "uvloop write", "uvloop", "asyncio_memory.py", ("uvloop", "queue")
        ),
        Contestant("Go net.Buffers", "go", "go_memory.go", ("queue",)),
        Contestant("deque of bytes", "stdlib", "stdlib_memory.py"),
    ),
    cases=(queued(64, "64 B a message"), queued(1024, "1 KiB a message")),
    figures=(BYTES_A_BYTE,),
    seconds=0,
    each=0.3,
    check=check,
)
