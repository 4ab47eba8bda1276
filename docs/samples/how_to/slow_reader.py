"""Do not read faster than you can answer: TCP tells the peer."""

from __future__ import annotations

import trio
from trio import socket

import triobatch


async def answer_in_order(stream: triobatch.BatchSocketStream) -> None:
    """Send each answer before the next request is read."""
    reader = triobatch.BufferedReceiveStream(stream)
    while request := await reader.receive_until(b"\n", limit=1000):
        await stream.send_buffers([b"answer to ", request, bytes(10_000)])


# Try it: a client that asks without end, and reads no answer.
async def main() -> None:
    near, far = socket.socketpair()
    client = triobatch.BatchSocketStream(near)
    server = triobatch.BatchSocketStream(far)
    questions = triobatch.Buffers([b"question\n"] * 1_000_000)
    async with client, server, trio.open_nursery() as nursery:
        nursery.start_soon(answer_in_order, server)
        with trio.move_on_after(0.5):
            await client.send_buffers(questions)
        print("the client was held up:", questions.nbytes > 0)
        nursery.cancel_scope.cancel()


trio.run(main)
