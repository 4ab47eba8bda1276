"""A chat server, step 3: a queue for each client."""

from __future__ import annotations

import functools
import sys

import trio

import triobatch

clients: set[triobatch.SharedStream] = set()


async def talk(stream: triobatch.BatchSocketStream) -> None:
    async with triobatch.open_shared_stream(stream) as shared:
        reader = triobatch.BufferedReceiveStream(stream)
        clients.add(shared)
        try:
            while line := await reader.receive_until(b"\n", limit=4096):
                triobatch.broadcast_nowait(clients, line)
        finally:
            clients.discard(shared)


# Try it: with a port it serves for ever, without one it talks to itself.
async def main() -> None:
    if sys.argv[1:]:
        await triobatch.serve_tcp(talk, int(sys.argv[1]), host="127.0.0.1")
    async with trio.open_nursery() as nursery:
        serve = functools.partial(triobatch.serve_tcp, host="127.0.0.1")
        listeners = await nursery.start(serve, talk, 0)
        port = listeners[0].socket.getsockname()[1]
        heard: list[list[bytes]] = []
        async with trio.open_nursery() as talkers:
            for name in ["ann", "bob", "cyd"]:
                talkers.start_soon(say_a_lot, port, name, heard)
        print("all of one's own lines heard, in order:", len(heard))
        nursery.cancel_scope.cancel()


async def say_a_lot(port: int, name: str, heard: list[list[bytes]]) -> None:
    async with await triobatch.open_tcp_stream("127.0.0.1", port) as stream:
        lines = [f"{name}: line {i}\n".encode() for i in range(1000)]
        own: list[bytes] = []
        reader = triobatch.BufferedReceiveStream(stream)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(stream.send_buffers, lines)
            while len(own) < len(lines):
                line = await reader.receive_until(b"\n", limit=4096)
                if line.startswith(name.encode()):
                    own.append(line)
        if own == lines:
            heard.append(own)


trio.run(main)
