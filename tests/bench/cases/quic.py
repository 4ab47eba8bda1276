"""QUIC by aioquic: what batches of datagrams are worth to a real protocol.

Most of the time goes to aioquic itself, which is Python: ratios are of whole
programs, and not of sockets.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from harness.build import missing
from harness.families import Case, Contestant, Family, Figure, faster

if TYPE_CHECKING:
    from harness.contestants import Answer

OURS = "triobatch"
TRIO = "trio.socket"
ASYNCIO = "aioquic.asyncio"

RATE = Figure(
    "rate",
    "megabytes a second",
    lambda answer: answer["bytes"] / answer["seconds"] / 1e6,
    better="more",
)


def check(_case: Case, count: int, answer: Answer) -> str | None:
    """Find out whether the server has counted all of it."""
    if answer["count"] != count or answer["wrong"]:
        return f"{answer['wrong']} bytes of {count} streams are not there"
    return None


FAMILY = Family(
    name="quic",
    title="QUIC, 16 streams of 1 MiB at a time, one way",
    contestants=(
        Contestant(OURS, "triobatch", "quic.py", ("triobatch",)),
        Contestant(TRIO, "trio", "quic.py", ("trio",)),
        Contestant(ASYNCIO, "asyncio", "quic.py", ("asyncio",)),
    ),
    cases=(Case("upload", "upload", least=4),),
    figures=(RATE,),
    seconds=0.3,
    check=check,
    promises=tuple(faster(2.0, OURS, TRIO, ASYNCIO, cases=["upload"])),
    needs=lambda: missing("aioquic"),
)
