"""The driver's side of the protocol in ``harness/contestants.py``."""

from __future__ import annotations

import json
import struct
import sys
import time
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator

# To stream_sink.c: bytes a batch, batches, whether to look at the contents.
HEADER = struct.Struct("!QQQ")
# To broadcast_sink.c: the same of each connection, and how many there are.
BROADCAST_HEADER = struct.Struct("!QQQQ")
# From both: bytes that came, and bytes that were not what was expected.
ACKNOWLEDGEMENT = struct.Struct("!QQ")


class Request(NamedTuple):
    """What the harness wants measured."""

    case: str
    count: int
    options: dict[str, str]

    @property
    def verify(self) -> int:
        """Whether the receiver is to look at the contents."""
        return int(self.options.get("verify", "0"))


def answer(**facts: object) -> None:
    """Print one line for the harness."""
    print(json.dumps(facts), flush=True)


def requests(**ready: object) -> Iterator[Request]:
    """Say that all is set up, and yield what is wanted, until the end.

    Waiting for the next line blocks, in event loops too: nothing else is to
    run in between.
    """
    sys.excepthook = _report
    answer(ready=True, **ready)
    for line in sys.stdin:
        _, case, count, *options = line.split()
        pairs = (option.partition("=")[::2] for option in options)
        yield Request(case, int(count), dict(pairs))


def _report(kind, error, traceback) -> None:
    sys.__excepthook__(kind, error, traceback)
    answer(error=f"{kind.__name__}: {error}")


class Stopwatch:
    """Runs from when it is made."""

    def __init__(self) -> None:
        self._cpu = time.process_time()
        self._start = time.perf_counter()

    def read(self) -> dict[str, float]:
        """Return the seconds passed, and those of processor time."""
        seconds = time.perf_counter() - self._start
        return {"seconds": seconds, "cpu": time.process_time() - self._cpu}


def pattern(size: int) -> bytes:
    """Return the bytes that a batch consists of; stream_sink.c knows them."""
    return (bytes(range(251)) * (size // 251 + 1))[:size]


def chunks_of(request: Request) -> list[bytes]:
    """Return the chunks that ``chunks=16x64`` or ``1x200+1x4096`` asks for."""
    sizes = []
    for run in request.options["chunks"].split("+"):
        count, size = map(int, run.split("x"))
        sizes += [size] * count
    whole = pattern(sum(sizes))
    chunks, start = [], 0
    for size in sizes:
        chunks.append(whole[start : start + size])
        start += size
    return chunks


def header(request: Request, size: int, count: int) -> bytes:
    """Return what announces ``count`` batches of ``size`` bytes."""
    return HEADER.pack(size, count, request.verify)


def broadcast_header(request: Request, size: int, connections: int) -> bytes:
    """Return what announces messages of ``size`` bytes to each connection."""
    return BROADCAST_HEADER.pack(
        size, request.count, request.verify, connections
    )


def arrived(acknowledgement: bytes) -> dict[str, int]:
    """Return what the sink says of it."""
    size, wrong = ACKNOWLEDGEMENT.unpack(acknowledgement)
    return {"bytes": size, "wrong": wrong}
