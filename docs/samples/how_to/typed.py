"""Annotations for what triobatch gives and takes."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import cast

import trio

import triobatch


# What takes any stream: annotate with Trio's abstract classes.
async def greet(stream: trio.abc.SendStream) -> None:
    await triobatch.send_buffers(stream, [b"hello, ", b"world\n"])


# What takes a trio.SocketStream, as other people's libraries do.
async def their_function(stream: trio.SocketStream) -> None:
    print("is one:", isinstance(stream, trio.SocketStream))


# What takes a real datagram socket or one of a test.
async def first_payload(sock: triobatch.AbstractDatagramSocket) -> bytes:
    payload, _ = await sock.receive()
    return payload


# Handlers, named once.
StreamHandler = Callable[[triobatch.BatchSocketStream], Awaitable[object]]


async def main() -> None:
    near, far = trio.socket.socketpair()
    async with triobatch.BatchSocketStream(near) as stream:
        await greet(stream)
        # True when it runs; a type checker has to be told.
        await their_function(cast("trio.SocketStream", stream))
        print(await far.recv(100))
    far.close()


trio.run(main)
