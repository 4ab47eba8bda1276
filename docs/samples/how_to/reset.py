"""Break a connection, so that its end is not taken for the whole."""

from __future__ import annotations

import functools
import os
import socket
import struct

import trio

import triobatch

# On, for no seconds; two shorts on Windows.
LINGER_NOT = struct.pack("hh" if os.name == "nt" else "ii", 1, 0)


async def break_off(stream: triobatch.BatchSocketStream) -> None:
    """Close with a reset, which throws away what has not left."""
    stream.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, LINGER_NOT)
    await trio.aclose_forcefully(stream)


# Try it: a page whose second half cannot be had.
async def serve_half(stream: triobatch.BatchSocketStream) -> None:
    await stream.send_all(b"half of a page")
    await stream.receive_some()
    await break_off(stream)


async def main() -> None:
    async with trio.open_nursery() as nursery:
        serve = functools.partial(triobatch.serve_tcp, host="127.0.0.1")
        listeners = await nursery.start(serve, serve_half, 0)
        address = listeners[0].socket.getsockname()
        async with await triobatch.open_tcp_stream(*address) as stream:
            print(await stream.receive_some())
            await stream.send_all(b"and the rest?")
            try:
                print("the end:", await stream.receive_some())
            except trio.BrokenResourceError as error:
                print("no end:", type(error).__name__)
        nursery.cancel_scope.cancel()


trio.run(main)
