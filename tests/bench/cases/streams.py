"""Gathered stream writes: a batch of chunks over loopback TCP.

Each contestant sends a batch again and again, on a connection of its own, to a
sink that reads them, and is timed until the sink has acknowledged the last
byte. Nothing is won by queueing. Chunks exist already; whatever a library
wants made of them, a ``Buffers`` or one piece of bytes, is made within the
time that is measured.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from harness.families import Case, Contestant, Family, Figure, faster, within

from cases.processor import CPU_A_GIGABYTE

if TYPE_CHECKING:
    from harness.contestants import Answer

KIB = 1024
LIST = "send_buffers(list)"
BUFFERS = "send_buffers(Buffers)"
NOWAIT = "send_buffers_nowait"
TRIO_EACH = "Trio send_all each"
TRIO_JOIN = "Trio send_all(join)"
TRIO_SENDMSG = "Trio sendmsg loop"
ASYNCIO = "asyncio writelines"
UVLOOP = "uvloop writelines"
GO = "Go net.Buffers"
C_WRITEV = "C writev"
C_COPY = "C copy and send"


def shape(*runs: tuple[int, int]) -> dict[str, object]:
    """Return the option that says how many chunks of which size there are."""
    return {"chunks": "+".join(f"{count}x{size}" for count, size in runs)}


def batch_size(case: Case) -> int:
    """Return the bytes of one batch."""
    runs = str(case.options["chunks"]).split("+")
    return sum(int(run.split("x")[0]) * int(run.split("x")[1]) for run in runs)


def check(case: Case, count: int, answer: Answer) -> str | None:
    """Find out whether all of it arrived, as it was sent."""
    expected = count * batch_size(case)
    if answer["bytes"] != expected:
        return f"{answer['bytes']} bytes arrived, not {expected}"
    if answer["wrong"]:
        return f"{answer['wrong']} bytes are not what was sent"
    return None


MICROSECONDS = Figure(
    "time",
    "microseconds a batch",
    lambda answer: answer["seconds"] / answer["count"] * 1e6,
)

CONTESTANTS = (
    Contestant(LIST, "triobatch", "triobatch_streams.py", ("list",)),
    Contestant(BUFFERS, "triobatch", "triobatch_streams.py", ("buffers",)),
    Contestant(NOWAIT, "triobatch", "triobatch_streams.py", ("nowait",)),
    Contestant(TRIO_EACH, "trio", "trio_streams.py", ("each",)),
    Contestant(TRIO_JOIN, "trio", "trio_streams.py", ("join",)),
    Contestant(TRIO_SENDMSG, "trio", "trio_streams.py", ("sendmsg",)),
    Contestant("AnyIO send(join)", "anyio", "anyio_streams.py"),
    Contestant(
        "stdlib sendall(join)", "stdlib", "stdlib_streams.py", ("join",)
    ),
    Contestant(
        "stdlib sendmsg loop", "stdlib", "stdlib_streams.py", ("sendmsg",)
    ),
    Contestant(ASYNCIO, "asyncio", "asyncio_streams.py", ("asyncio",)),
    Contestant(UVLOOP, "uvloop", "asyncio_streams.py", ("uvloop",)),
    Contestant(GO, "go", "go_streams.go"),
    Contestant(C_WRITEV, "c", "c_streams.c", ("writev",)),
    Contestant(C_COPY, "c", "c_streams.c", ("copy",)),
)

CASES = (
    Case("16x64", "16 x 64 B", shape((16, 64))),
    Case("256x64", "256 x 64 B", shape((256, 64))),
    Case("1024x64", "1024 x 64 B", shape((1024, 64))),
    Case("64x1K", "64 x 1 KiB", shape((64, KIB))),
    Case("16x4K", "16 x 4 KiB", shape((16, 4 * KIB))),
    Case("64x4K", "64 x 4 KiB", shape((64, 4 * KIB))),
    Case("16x64K", "16 x 64 KiB", shape((16, 64 * KIB))),
    Case("200+1M", "200 B + 1 MiB", shape((1, 200), (1, 1024 * KIB))),
)

ALL = [case.name for case in CASES]
MANY = ["256x64", "1024x64"]
FROM_64 = [*MANY, "64x1K", "64x4K"]

FAMILY = Family(
    name="streams",
    title="Gathered stream writes",
    contestants=CONTESTANTS,
    cases=CASES,
    figures=(MICROSECONDS, CPU_A_GIGABYTE),
    seconds=0.025,
    check=check,
    sink="stream_sink.c",
    charted=(
        LIST,
        NOWAIT,
        TRIO_EACH,
        TRIO_JOIN,
        TRIO_SENDMSG,
        ASYNCIO,
        UVLOOP,
        GO,
        C_WRITEV,
        C_COPY,
    ),
    promises=(
        *faster(1, LIST, GO, cases=MANY),
        *faster(1, LIST, UVLOOP, cases=MANY),
        *faster(1.5, LIST, GO, cases=["1024x64"]),
        *faster(1.5, LIST, UVLOOP, cases=["1024x64"]),
        *within(1.15, LIST, GO, cases=["64x4K", "16x64K", "200+1M"]),
        *faster(1, NOWAIT, ASYNCIO, cases=ALL),
        *faster(1, NOWAIT, UVLOOP, cases=ALL),
        *faster(1, NOWAIT, GO, cases=ALL),
        *within(1.5, LIST, C_WRITEV, C_COPY, cases=FROM_64),
        *within(1.5, NOWAIT, C_WRITEV, C_COPY, cases=FROM_64),
        *faster(1.3, LIST, TRIO_JOIN, cases=MANY),
        *within(1.05, LIST, TRIO_EACH, TRIO_JOIN, TRIO_SENDMSG, cases=ALL),
    ),
)
