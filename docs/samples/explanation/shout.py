"""A server on one task, and a client."""

from __future__ import annotations

import functools

import trio

import triobatch

Batch = list[tuple[triobatch.BatchSocketStream, bytes]]


async def shout(group: triobatch.StreamGroup, batch: Batch) -> None:
    group.send_batch_nowait((stream, data.upper()) for stream, data in batch)


async def main() -> None:
    async with trio.open_nursery() as nursery:
        (listener, *_) = await nursery.start(
            functools.partial(
                triobatch.serve_tcp_batches, shout, 0, host="127.0.0.1"
            )
        )
        address = listener.socket.getsockname()
        async with await triobatch.open_tcp_stream(*address) as stream:
            await stream.send_all(b"hello")
            print((await stream.receive_some()).decode())
        nursery.cancel_scope.cancel()


trio.run(main)
