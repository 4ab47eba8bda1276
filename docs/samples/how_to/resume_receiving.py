"""A deadline passes while receiving; what has come is kept."""

from __future__ import annotations

import trio
from trio import socket

import triobatch


async def main() -> None:
    near, far = socket.socketpair()
    async with triobatch.BatchSocketStream(near) as stream:
        reader = triobatch.BufferedReceiveStream(stream)
        await far.send(b"abc")
        with trio.move_on_after(0.1):
            await reader.receive_exactly(6)
        print(f"{reader.nbytes} bytes have come, and are kept")
        await far.send(b"def")
        print(await reader.receive_exactly(6))
    far.close()


trio.run(main)
