"""A stream group whose answers take time, and do not hold up the others."""

from __future__ import annotations

import functools

import trio

import triobatch

Batch = list[tuple[triobatch.BatchSocketStream, bytes]]


async def ask_the_database(request: bytes) -> bytes:
    await trio.sleep(0.01)
    return request.upper()


async def answer(
    group: triobatch.StreamGroup,
    stream: triobatch.BatchSocketStream,
    request: bytes,
) -> None:
    found = await ask_the_database(request)
    for _, error in group.send_batch_nowait([(stream, found)]):
        print("it has gone meanwhile:", error)


async def main() -> None:
    async with trio.open_nursery() as nursery:

        async def handler(group: triobatch.StreamGroup, batch: Batch) -> None:
            for stream, request in batch:
                if request:
                    nursery.start_soon(answer, group, stream, request)

        (listener, *_) = await nursery.start(
            functools.partial(
                triobatch.serve_tcp_batches, handler, 0, host="127.0.0.1"
            )
        )
        address = listener.socket.getsockname()
        async with await triobatch.open_tcp_stream(*address) as stream:
            await stream.send_all(b"hello")
            print((await stream.receive_some()).decode())
        nursery.cancel_scope.cancel()


trio.run(main)
