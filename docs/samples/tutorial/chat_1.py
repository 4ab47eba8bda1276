"""A chat server, step 1: read lines, and answer each."""

from __future__ import annotations

import functools
import sys

import trio

import triobatch


async def talk(stream: triobatch.BatchSocketStream) -> None:
    reader = triobatch.BufferedReceiveStream(stream)
    while line := await reader.receive_until(b"\n", limit=4096):
        await stream.send_buffers([b"you said: ", line])


# Try it: with a port it serves for ever, without one it talks to itself.
async def main() -> None:
    if sys.argv[1:]:
        await triobatch.serve_tcp(talk, int(sys.argv[1]), host="127.0.0.1")
    async with trio.open_nursery() as nursery:
        serve = functools.partial(triobatch.serve_tcp, host="127.0.0.1")
        listeners = await nursery.start(serve, talk, 0)
        port = listeners[0].socket.getsockname()[1]
        async with await triobatch.open_tcp_stream("127.0.0.1", port) as ann:
            await ann.send_all(b"hello\nis anybody there?\n")
            await ann.send_eof()
            async for piece in ann:
                print(piece.decode(), end="")
        nursery.cancel_scope.cancel()


trio.run(main)
