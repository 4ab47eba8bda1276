"""Batches of chunks with triobatch: WAY PORT."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import trio
from trio_streams import run

import triobatch
from triobatch import BatchSocketStream, Buffers

if TYPE_CHECKING:
    from trio_streams import Send


async def buffers(stream: BatchSocketStream, chunks: list[bytes]) -> None:
    await stream.send_buffers(Buffers(chunks))


async def nowait(stream: BatchSocketStream, chunks: list[bytes]) -> None:
    """Send what fits now, and wait only with the rest."""
    left = Buffers(chunks)
    try:
        stream.send_buffers_nowait(left)
    except trio.WouldBlock:
        pass
    if left:
        await stream.send_buffers(left)


WAYS: dict[str, Send] = {
    "list": BatchSocketStream.send_buffers,
    "buffers": buffers,
    "nowait": nowait,
}

if __name__ == "__main__":
    trio.run(
        run, triobatch.open_tcp_stream, WAYS[sys.argv[1]], int(sys.argv[2])
    )
