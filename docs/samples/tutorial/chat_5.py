"""A chat server, step 5: names, and deadlines for those who say nothing."""

from __future__ import annotations

import functools
import sys

import trio

import triobatch

MAX_BUFFERED = 65536
# How long a client may take to say its name, and between two lines, in
# seconds.
NAME_TIMEOUT = 10
IDLE_TIMEOUT = 3600
# How long the last lines to a client may take when it has left.
LEAVE_TIMEOUT = 5

LEAVING = (
    EOFError,
    triobatch.FrameTooLargeError,
    trio.BrokenResourceError,
    trio.ClosedResourceError,
    trio.TooSlowError,  # a deadline has passed
)

clients: set[triobatch.SharedStream] = set()


async def say(*pieces: bytes) -> None:
    message = triobatch.Buffers(pieces)
    for delivery in triobatch.broadcast_nowait(clients, message).missed:
        print("dropped a client:", delivery.status)
        await trio.aclose_forcefully(delivery.stream)


async def receive_line(
    reader: triobatch.BufferedReceiveStream, seconds: float
) -> bytes:
    with trio.fail_after(seconds):
        return await reader.receive_until(b"\n", limit=4096)


async def chat(shared: triobatch.SharedStream) -> None:
    reader = triobatch.BufferedReceiveStream(shared)
    await shared.send_all(b"Who are you?\n")
    name = (await receive_line(reader, NAME_TIMEOUT)).strip()
    clients.add(shared)
    try:
        await say(name, b" is here\n")
        while line := await receive_line(reader, IDLE_TIMEOUT):
            await say(name, b": ", line)
    finally:
        clients.discard(shared)
        await say(name, b" has left\n")


async def talk(stream: triobatch.BatchSocketStream) -> None:
    try:
        async with triobatch.open_shared_stream(
            stream, max_buffered=MAX_BUFFERED
        ) as shared:
            await chat(shared)
            with trio.fail_after(LEAVE_TIMEOUT):
                await shared.sender.flush()
    except LEAVING as error:
        print("a client left:", type(error).__name__)


# Try it: with a port it serves for ever, without one it talks to itself.
async def main() -> None:
    if sys.argv[1:]:
        await triobatch.serve_tcp(talk, int(sys.argv[1]), host="127.0.0.1")
    async with trio.open_nursery() as nursery:
        serve = functools.partial(triobatch.serve_tcp, host="127.0.0.1")
        listeners = await nursery.start(serve, talk, 0)
        port = listeners[0].socket.getsockname()[1]
        async with await triobatch.open_tcp_stream("127.0.0.1", port) as ann:
            lines = triobatch.BufferedReceiveStream(ann)
            await ann.send_all(b"ann\n")
            print("ann hears", await lines.receive_until(b"\n", 4096))
            print("ann hears", await lines.receive_until(b"\n", 4096))
            bob = await triobatch.open_tcp_stream("127.0.0.1", port)
            async with bob:
                await bob.send_all(b"bob\nhello\nand good")  # no whole line
                await bob.send_eof()
                async for _ in bob:
                    pass
            for _ in range(3):
                print("ann hears", await lines.receive_until(b"\n", 4096))
        nursery.cancel_scope.cancel()


trio.run(main)
