"""Datagrams: a batch over loopback UDP, 1200 bytes each but in one case.

**Sending.** A sink in another process receives with GRO, has room for all of
a measurement, and says at its end how many came, within the time measured.
Nothing is lost, or the figure does not count. The many destinations are 64
addresses of one port, so that the sink's work is the same.

**Receiving.** A process sends blocks of 864 datagrams in messages of 54, which
the kernel cuts up (UDP_SEGMENT) unless the receiver asks for them whole
(UDP_GRO). In a stream, two blocks are on their way all the time, so that the
figure is of both ends. Queued, a block is there before it is taken, and only
the taking is timed; what the kernel does to cut it up is the sender's.
"""

from __future__ import annotations

import contextlib
import socket
from typing import TYPE_CHECKING

from harness.families import Case, Contestant, Family, Figure, faster, within

from cases.processor import CPU_A_GIGABYTE

if TYPE_CHECKING:
    from harness.contestants import Answer

SIZE = 1200
# What is on its way while the sink does not run for some milliseconds.
RECEIVE_BUFFER = 64 << 20
# Python has no name for it: SO_RCVBUF above net.core.rmem_max, for root.
SO_RCVBUFFORCE = 33
MIXED_SIZE = sum(64 + i * 331 % 1400 for i in range(64))
BLOCK = 864
OURS = "triobatch"
MESSAGES = "local address, ECN"
GO_SENDS = "Go WriteBatch"
GO_RECEIVES = "Go ReadBatch"
C_GSO = "C GSO"
C_GRO = "C GRO"

NANOSECONDS = Figure(
    "time",
    "nanoseconds a datagram",
    lambda answer: answer["seconds"] / answer["datagrams"] * 1e9,
)


def lacks_receive_buffers() -> str | None:
    """Return how to allow receive buffers in which nothing is lost, if not."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        for option in (socket.SO_RCVBUF, SO_RCVBUFFORCE):
            with contextlib.suppress(PermissionError):
                sock.setsockopt(socket.SOL_SOCKET, option, RECEIVE_BUFFER)
        # The kernel doubles what it is asked for (socket(7)).
        size = sock.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF) // 2
    if size >= RECEIVE_BUFFER:
        return None
    return (
        f"receive buffers are {size:,} bytes, and datagrams are lost with "
        f"less than {RECEIVE_BUFFER:,}: run it as root, or after "
        f"sysctl net.core.rmem_max={RECEIVE_BUFFER}"
    )


def check_sent(case: Case, count: int, answer: Answer) -> str | None:
    """Find out whether each arrived, once and whole."""
    batch = int(str(case.options["batch"]))
    size = MIXED_SIZE if case.name == "mixed" else batch * SIZE
    return _check(count * batch, count * size, answer)


def check_received(_case: Case, count: int, answer: Answer) -> str | None:
    """Find out whether all that were queued came."""
    return _check(count * BLOCK, count * BLOCK * SIZE, answer)


def _check(datagrams: int, size: int, answer: Answer) -> str | None:
    if answer["datagrams"] != datagrams:
        return (
            f"{answer['datagrams']} of {datagrams} datagrams arrived; "
            "is net.core.rmem_max too small?"
        )
    if answer["bytes"] != size:
        return f"{answer['bytes']} bytes arrived, not {size}"
    if answer.get("wrong"):
        return f"{answer['wrong']} datagrams are not what was sent"
    return None


def contestants(role: str, go: str, **c: str) -> list[Contestant]:
    """Return those who send, receive or echo one datagram or one batch.

    ``go`` is what Go's is called, ``c`` the names of C's ways.
    """
    return [
        Contestant(OURS, "triobatch", "triobatch_datagrams.py", (role,)),
        Contestant("Trio", "trio", "trio_datagrams.py", (role,)),
        Contestant("AnyIO on Trio", "anyio", "anyio_datagrams.py", (role,)),
        Contestant(
            "asyncio", "asyncio", "asyncio_datagrams.py", ("asyncio", role)
        ),
        Contestant(
            "uvloop", "uvloop", "asyncio_datagrams.py", ("uvloop", role)
        ),
        Contestant("stdlib", "stdlib", "stdlib_datagrams.py", ("plain", role)),
        Contestant(go, "go", "go_datagrams.go", (role,)),
        *(
            Contestant(name, "c", "c_datagrams.c", (role, way))
            for way, name in c.items()
        ),
    ]


SEND_CASES = (
    Case("one", "64, one peer", {"batch": 64}),
    Case("many", "64, 64 peers", {"batch": 64}),
    Case("mixed", "64, mixed sizes", {"batch": 64}),
    Case("segments", "one block of 864", {"batch": BLOCK}),
)
# Only one who knows of segmentation makes anything of a block.
SINGLY = frozenset({"one", "many", "mixed"})

SEND = Family(
    name="udp-send",
    title="Sending datagrams",
    contestants=(
        *(
            Contestant(
                each.name,
                each.peer,
                each.source,
                each.arguments,
                None if each.name == OURS else SINGLY,
            )
            for each in contestants("send", GO_SENDS, sendmmsg="C sendmmsg")
        ),
        Contestant(
            "stdlib, GSO by hand",
            "stdlib",
            "stdlib_datagrams.py",
            ("gso", "send"),
            frozenset({"one", "segments"}),
        ),
        Contestant(
            C_GSO,
            "c",
            "c_datagrams.c",
            ("send", "gso"),
            frozenset({"one", "segments"}),
        ),
    ),
    cases=SEND_CASES,
    figures=(NANOSECONDS, CPU_A_GIGABYTE),
    seconds=0.03,
    check=check_sent,
    sink="datagram_sink.c",
    needs=lacks_receive_buffers,
    promises=(
        *faster(8, OURS, GO_SENDS, cases=["one"]),
        *faster(10, OURS, "asyncio", "uvloop", cases=["one"]),
        *faster(35, OURS, "Trio", cases=["one"]),
        *faster(8, OURS, "stdlib", cases=["one"]),
        *faster(1, OURS, GO_SENDS, cases=["many"]),
        *faster(4, OURS, "Trio", cases=["many"]),
        *within(1.3, OURS, C_GSO, cases=["segments"]),
    ),
)

RECEIVE_CASES = (
    Case("stream64", "stream, by 64", {"batch": 64, "block": BLOCK}),
    Case("stream512", "stream, by 512", {"batch": 512, "block": BLOCK}),
    Case("queued64", "queued, by 64", {"batch": 64, "block": BLOCK}),
    Case("queued512", "queued, by 512", {"batch": 512, "block": BLOCK}),
)

RECEIVE = Family(
    name="udp-receive",
    title="Receiving datagrams from a sender with GSO",
    contestants=(
        *contestants("receive", GO_RECEIVES, recvmmsg="C recvmmsg", gro=C_GRO),
        Contestant(
            MESSAGES, "triobatch", "triobatch_datagrams.py", ("messages",)
        ),
    ),
    cases=RECEIVE_CASES,
    figures=(NANOSECONDS, CPU_A_GIGABYTE),
    seconds=0.025,
    check=check_received,
    sink="datagram_source.c",
    needs=lacks_receive_buffers,
    promises=(
        *faster(8, OURS, GO_RECEIVES, cases=["stream64", "stream512"]),
        *faster(8, OURS, "Trio", cases=["stream64", "stream512"]),
        *within(3, OURS, C_GRO, cases=["stream64", "stream512"]),
        *within(1.3, MESSAGES, OURS, cases=["queued64"]),
    ),
)
