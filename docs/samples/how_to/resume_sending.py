"""A deadline passes while sending; nothing is lost or sent twice."""

from __future__ import annotations

import trio
from trio import socket

import triobatch


async def send(
    stream: triobatch.BatchSocketStream,
    chunks: triobatch.Buffers,
    late: trio.Event,
) -> None:
    with trio.move_on_after(0.1):
        await stream.send_buffers(chunks)
    if chunks:
        print("the deadline has passed, and some are left")
        late.set()
        await stream.send_buffers(chunks)


# Try it: the reader begins when the deadline has passed.
async def main() -> None:
    near, far = socket.socketpair()
    receiver = triobatch.BatchSocketStream(far)
    data = [bytes([number]) * 10_000 for number in range(256)]
    received = bytearray()
    late = trio.Event()

    async def read_late() -> None:
        await late.wait()
        async for piece in receiver:
            received.extend(piece)

    async with receiver, trio.open_nursery() as nursery:
        nursery.start_soon(read_late)
        async with triobatch.BatchSocketStream(near) as sender:
            await send(sender, triobatch.Buffers(data), late)
    print("all is there, once:", received == b"".join(data))


trio.run(main)
