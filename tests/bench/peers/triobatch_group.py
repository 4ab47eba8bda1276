"""Requests answered by one task, a batch at a time, with triobatch.

With ``tasks`` each is answered by a task of its own that has to wait once.
"""

from __future__ import annotations

import sys
from functools import partial

import trio
from responses import BODY, HEADER, REQUEST_SIZE, answer

import triobatch
from triobatch import BatchSocketStream, StreamGroup

# What is there of a request that is not complete, in bytes.
begun: dict[BatchSocketStream, int] = {}


async def respond(
    group: StreamGroup, batch: list[tuple[BatchSocketStream, bytes]]
) -> None:
    messages = []
    for stream, data in batch:
        size = len(data)
        if begun:
            size += begun.pop(stream, 0)
        count, rest = divmod(size, REQUEST_SIZE)
        if rest and data:
            begun[stream] = rest
        if count:
            messages.append((stream, [HEADER, BODY] * count))
    group.send_batch_nowait(messages)


async def respond_in_tasks(
    nursery: trio.Nursery,
    group: StreamGroup,
    batch: list[tuple[BatchSocketStream, bytes]],
) -> None:
    async def respond_to(stream: BatchSocketStream, data: bytes) -> None:
        await trio.lowlevel.checkpoint()
        await respond(group, [(stream, data)])

    for stream, data in batch:
        if data:
            nursery.start_soon(respond_to, stream, data)


async def run() -> None:
    async with trio.open_nursery() as nursery:
        handler = respond
        if "tasks" in sys.argv:
            handler = partial(respond_in_tasks, nursery)
        serve = partial(
            triobatch.serve_tcp_batches, handler, 0, host="127.0.0.1"
        )
        listeners = await nursery.start(serve)
        answer(ready=True, port=listeners[0].socket.getsockname()[1])


if __name__ == "__main__":
    trio.run(run)
