"""A chat server, step 2: everybody hears every line."""

from __future__ import annotations

import functools
import sys

import trio

import triobatch

clients: set[triobatch.BatchSocketStream] = set()


async def talk(stream: triobatch.BatchSocketStream) -> None:
    reader = triobatch.BufferedReceiveStream(stream)
    clients.add(stream)
    try:
        while line := await reader.receive_until(b"\n", limit=4096):
            await triobatch.broadcast(clients, line)
    finally:
        clients.discard(stream)


# Try it: with a port it serves for ever, without one it talks to itself.
async def main() -> None:
    if sys.argv[1:]:
        await triobatch.serve_tcp(talk, int(sys.argv[1]), host="127.0.0.1")
    async with trio.open_nursery() as nursery:
        serve = functools.partial(triobatch.serve_tcp, host="127.0.0.1")
        listeners = await nursery.start(serve, talk, 0)
        port = listeners[0].socket.getsockname()[1]
        async with await triobatch.open_tcp_stream("127.0.0.1", port) as ann:
            await ann.send_all(b"I am ann\n")
            print("ann hears", await ann.receive_some())
            bob = await triobatch.open_tcp_stream("127.0.0.1", port)
            async with bob:
                await bob.send_all(b"I am bob\n")
                print("ann hears", await ann.receive_some())
                print("bob hears", await bob.receive_some())
        nursery.cancel_scope.cancel()


trio.run(main)
