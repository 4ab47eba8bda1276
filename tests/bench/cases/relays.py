"""A relay of datagrams, which hands on what comes, and looks at none of it.

A program in C is both its ends: it sends blocks of 864 datagrams in messages
of 54, which the kernel cuts up unless the relay takes them whole, and counts
what comes back. Four blocks are on their way all the time, so the time is of
whoever is slower, the relay or that program; the processor time is the
relay's own.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from harness.families import Case, Contestant, Family, Figure, faster, within

from cases.datagrams import (
    BLOCK,
    NANOSECONDS,
    check_received,
    lacks_receive_buffers,
)

if TYPE_CHECKING:
    from harness.contestants import Answer

RUNS = "runs"
BATCHES = "batches of 64"
C = "C GRO, GSO"


def processor_time(answer: Answer) -> float:
    """Return the relay's nanoseconds a datagram."""
    return answer["server_cpu"] / answer["datagrams"] * 1e9


FAMILY = Family(
    name="udp-relay",
    title="Relaying datagrams",
    contestants=(
        Contestant(RUNS, "triobatch", "triobatch_relay.py", ("runs",)),
        Contestant(BATCHES, "triobatch", "triobatch_relay.py", ("batch",)),
        Contestant(
            "batches of 512", "triobatch", "triobatch_relay.py", ("batch512",)
        ),
        Contestant(C, "c", "c_datagrams.c", ("relay", "gro")),
    ),
    cases=(Case("stream", "stream", {"block": BLOCK, "window": 4}),),
    figures=(
        NANOSECONDS,
        Figure(
            "processor",
            "nanoseconds of the relay's processor time a datagram",
            processor_time,
        ),
    ),
    seconds=0.1,
    check=check_received,
    generator="relay_load.c",
    needs=lacks_receive_buffers,
    promises=(
        *faster(3, RUNS, BATCHES, cases=["stream"]),
        *within(1.4, RUNS, C, cases=["stream"]),
    ),
)
