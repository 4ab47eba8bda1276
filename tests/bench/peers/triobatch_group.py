"""Requests answered by one task, a batch at a time, with triobatch."""

from __future__ import annotations

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


async def run() -> None:
    async with trio.open_nursery() as nursery:
        serve = partial(
            triobatch.serve_tcp_batches, respond, 0, host="127.0.0.1"
        )
        listeners = await nursery.start(serve)
        answer(ready=True, port=listeners[0].socket.getsockname()[1])


if __name__ == "__main__":
    trio.run(run)
