"""Ask a program what it does: what runs, how often, in how many calls."""

from __future__ import annotations

import logging

import trio
from trio import socket

import triobatch


async def main() -> None:
    # Which core runs, and why, and what the kernel can do.
    logging.info("%s", triobatch.capabilities())
    near, far = socket.socketpair()
    async with (
        triobatch.BatchSocketStream(near) as stream,
        triobatch.BatchSocketStream(far) as peer,
    ):
        await stream.send_buffers([b"piece"] * 1000)
        await peer.receive_some()
        counts = stream.statistics()
        print("bytes:", counts.bytes_sent)
        print("system calls:", counts.send_calls)
        print("waits for a slow peer:", counts.send_waits)


trio.run(main)
