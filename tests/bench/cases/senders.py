"""Many tasks that send small messages on one connection.

1000 tasks start together and each sends its messages, one after the other;
the time ends when the sink has acknowledged the last one. Messages are alike,
so the sink can see that none was torn by another. The C program has no tasks:
it copies 1000 messages into one piece and sends that, which is the limit.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from harness.families import Case, Contestant, Family, Figure, faster

if TYPE_CHECKING:
    from harness.contestants import Answer

TASKS = 1000
SIZE = 64
SEND = "BatchSender.send"
NOWAIT = "BatchSender.send_nowait"


def check(case: Case, count: int, answer: Answer) -> str | None:
    """Find out whether every message arrived, and whole."""
    expected = count * TASKS * SIZE
    if answer["bytes"] != expected:
        return f"{answer['bytes']} bytes arrived, not {expected}"
    if answer["wrong"]:
        return f"{answer['wrong']} bytes are not what was sent"
    return None


CASE = Case(
    "1000tasks",
    f"{TASKS} tasks, {SIZE} B",
    {"tasks": TASKS, "size": SIZE, "chunks": f"{TASKS}x{SIZE}"},
)

FAMILY = Family(
    name="senders",
    title="Many senders on one connection",
    contestants=(
        Contestant(SEND, "triobatch", "triobatch_senders.py", ("send",)),
        Contestant(NOWAIT, "triobatch", "triobatch_senders.py", ("nowait",)),
        Contestant("Trio Lock, send_all", "trio", "trio_senders.py"),
        Contestant("AnyIO Lock, send", "anyio", "anyio_senders.py"),
        Contestant("stdlib threads, Lock", "stdlib", "stdlib_senders.py"),
        Contestant(
            "asyncio write, drain",
            "asyncio",
            "asyncio_senders.py",
            ("asyncio",),
        ),
        Contestant(
            "uvloop write, drain", "uvloop", "asyncio_senders.py", ("uvloop",)
        ),
        Contestant("Go Write", "go", "go_senders.go", ("write",)),
        Contestant("Go channel, bufio", "go", "go_senders.go", ("channel",)),
        Contestant("C copy and send", "c", "c_streams.c", ("copy",)),
    ),
    cases=(CASE,),
    figures=(
        Figure(
            "time",
            "microseconds a message",
            lambda answer: answer["seconds"] / answer["bytes"] * SIZE * 1e6,
        ),
        Figure(
            "CPU",
            "microseconds of processor time a message",
            lambda answer: answer["cpu"] / answer["bytes"] * SIZE * 1e6,
        ),
    ),
    seconds=0.15,
    check=check,
    sink="stream_sink.c",
    promises=(
        *faster(10, SEND, "Trio Lock, send_all", cases=[CASE.name]),
        *faster(1.5, SEND, "asyncio write, drain", cases=[CASE.name]),
        *faster(1.5, SEND, "uvloop write, drain", cases=[CASE.name]),
    ),
)
