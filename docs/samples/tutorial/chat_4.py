"""A chat server, step 4: who is slow is dropped, and who is rude."""

from __future__ import annotations

import functools
import socket
import sys

import trio

import triobatch

# What a client may have waiting for it, in bytes.
MAX_BUFFERED = 65536

# How clients leave without saying so, and how they are dropped.
LEAVING = (
    EOFError,  # in the middle of a line
    triobatch.FrameTooLargeError,  # with a line that never ends
    trio.BrokenResourceError,  # the connection broke
    trio.ClosedResourceError,  # we have closed it
)

clients: set[triobatch.SharedStream] = set()


async def say(line: bytes) -> None:
    for delivery in triobatch.broadcast_nowait(clients, line).missed:
        print("dropped a client:", delivery.status)
        await trio.aclose_forcefully(delivery.stream)


async def talk(stream: triobatch.BatchSocketStream) -> None:
    try:
        async with triobatch.open_shared_stream(
            stream, max_buffered=MAX_BUFFERED
        ) as shared:
            reader = triobatch.BufferedReceiveStream(shared)
            clients.add(shared)
            try:
                while line := await reader.receive_until(b"\n", limit=4096):
                    await say(line)
            finally:
                clients.discard(shared)
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
        ann = await triobatch.open_tcp_stream("127.0.0.1", port)
        bob = await triobatch.open_tcp_stream("127.0.0.1", port)
        async with ann, bob:
            bob.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            await bob.send_all(b"I am bob, and read nothing\n")
            reader = triobatch.BufferedReceiveStream(ann)
            for number in range(100):
                await ann.send_all(b"%4000d\n" % number)
                line = b""
                while line != b"%4000d\n" % number:
                    line = await reader.receive_until(b"\n", limit=4096)
            print("ann heard all that she said")
        nursery.cancel_scope.cancel()


trio.run(main)
