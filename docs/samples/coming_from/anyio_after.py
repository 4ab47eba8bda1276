"""triobatch within a program that uses AnyIO."""
# Needs anyio.

from __future__ import annotations

import functools

import anyio
import trio

import triobatch


async def send_frames(stream: triobatch.BatchSocketStream) -> None:
    frames = triobatch.Buffers(b"frame %d;" % number for number in range(3))
    with anyio.move_on_after(5):
        await stream.send_buffers(frames)
    if frames:
        print(frames.nbytes, "bytes are unsent")


# Trio has to be the backend. Then a nursery and a task group may be mixed.
async def main() -> None:
    async with trio.open_nursery() as nursery:
        serve = functools.partial(triobatch.serve_tcp, host="127.0.0.1")
        listeners = await nursery.start(serve, send_frames, 0)
        port = listeners[0].socket.getsockname()[1]
        async with await anyio.connect_tcp("127.0.0.1", port) as stream:
            print(b"".join([piece async for piece in stream]))
        nursery.cancel_scope.cancel()


anyio.run(main, backend="trio")
