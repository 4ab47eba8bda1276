"""Many tasks on one connection, through a batch sender: WAY PORT."""

from __future__ import annotations

import sys
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import trio
from trio_senders import Send, run

import triobatch

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from triobatch import BatchSocketStream


@asynccontextmanager
async def send(stream: BatchSocketStream) -> AsyncIterator[Send]:
    async with triobatch.open_batch_sender(stream) as sender:
        yield sender.send


@asynccontextmanager
async def nowait(stream: BatchSocketStream) -> AsyncIterator[Send]:
    """Send as asyncio's writers do: without a wait while there is room."""
    async with triobatch.open_batch_sender(stream) as sender:

        async def send(message: bytes) -> None:
            try:
                sender.send_nowait(message)
            except trio.WouldBlock:
                await sender.send(message)

        yield send


WAYS = {"send": send, "nowait": nowait}

if __name__ == "__main__":
    trio.run(
        run, triobatch.open_tcp_stream, WAYS[sys.argv[1]], int(sys.argv[2])
    )
