"""One message to many connections with triobatch: PORT."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import trio
from trio_broadcast import run

import triobatch

if TYPE_CHECKING:
    from triobatch import BatchSocketStream


async def broadcast(streams: list[BatchSocketStream], data: bytes) -> None:
    result = await triobatch.broadcast(streams, data)
    if result.missed:
        raise RuntimeError(f"missed: {result.missed[0]}")


if __name__ == "__main__":
    trio.run(run, triobatch.open_tcp_stream, broadcast, int(sys.argv[1]))
