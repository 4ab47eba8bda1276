"""Small batches of datagrams: there and taken, over loopback, in one process.

What most programs have at a time: one datagram of 1200 bytes, or a few. A
batch is sent from one socket and received at another before the next one, so
that a call costs what it costs by itself, and nobody waits. One process does
both: what a switch between two costs is no part of it.

qh3 is quinn-udp, in Rust, with UDP_SEGMENT and UDP_GRO. It and the loop of
the standard library have no event loop to take turns with, so ours beside
them is the way that does not wait; the other is beside ``trio.socket``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from harness.families import Case, Contestant, Family, Figure, within

if TYPE_CHECKING:
    from harness.contestants import Answer

SIZE = 1200
SOURCE = "small_batches.py"
NOWAIT = "triobatch, nowait"
AWAITED = "triobatch, awaited"
TRIO = "trio.socket"
QH3 = "qh3"
COUNTS = (1, 2, 4, 8, 16, 64)


def check(case: Case, count: int, answer: Answer) -> str | None:
    """Find out whether each datagram came, whole and in order."""
    expected = count * int(str(case.options["batch"]))
    if answer["datagrams"] != expected:
        return f"{answer['datagrams']} of {expected} datagrams arrived"
    if answer["bytes"] != expected * SIZE:
        return f"{answer['bytes']} bytes arrived, not {expected * SIZE}"
    if answer["wrong"]:
        return f"{answer['wrong']} datagrams are not what was sent"
    return None


FAMILY = Family(
    name="udp-small",
    title="Small batches of datagrams, sent and received",
    contestants=(
        Contestant(NOWAIT, "triobatch", SOURCE, ("nowait",)),
        Contestant(AWAITED, "triobatch", SOURCE, ("awaited",)),
        Contestant(QH3, "qh3", SOURCE, ("qh3",)),
        Contestant("stdlib loop", "stdlib", SOURCE, ("stdlib",)),
        Contestant(TRIO, "trio", SOURCE, ("trio",)),
    ),
    cases=tuple(
        Case(str(count), f"{count}", {"batch": count}) for count in COUNTS
    ),
    figures=(
        Figure(
            "time",
            "microseconds a batch",
            lambda answer: answer["seconds"] / answer["count"] * 1e6,
        ),
        Figure(
            "CPU",
            "microseconds of processor time a batch",
            lambda answer: answer["cpu"] / answer["count"] * 1e6,
        ),
    ),
    seconds=0.03,
    check=check,
    promises=(
        *within(1.15, NOWAIT, QH3, cases=["1"]),
        *within(1.25, NOWAIT, QH3, cases=["2", "4"]),
        *within(1.1, NOWAIT, QH3, cases=["8"]),
        *within(0.95, NOWAIT, QH3, cases=["16"]),
        *within(0.6, NOWAIT, QH3, cases=["64"]),
        *within(0.8, AWAITED, TRIO, cases=["1"]),
        *within(1.6, AWAITED, QH3, cases=["16"]),
        *within(0.8, AWAITED, QH3, cases=["64"]),
    ),
)
