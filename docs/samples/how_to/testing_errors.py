"""Tests for what hardly ever happens: errors, and half a send."""

from __future__ import annotations

import errno

import trio
from trio import socket

import triobatch
from triobatch.testing import os_error, scripted_calls


async def send_all_or_say(
    stream: triobatch.BatchSocketStream, chunks: triobatch.Buffers
) -> str:
    """Be what is tested."""
    try:
        await stream.send_buffers(chunks)
    except trio.BrokenResourceError:
        return f"broken, with {chunks.nbytes} bytes unsent"
    return "sent"


async def main() -> None:
    near, far = socket.socketpair()
    async with triobatch.BatchSocketStream(near) as stream:
        chunks = triobatch.Buffers([b"four", b"five!"])
        # The first call takes 3 bytes, the second fails.
        with scripted_calls(
            stream, sending=[3, os_error(errno.ECONNRESET)]
        ) as (sending, _):
            print(await send_all_or_say(stream, chunks))
        print("steps that were not taken:", sending.left)
    far.close()


trio.run(main)
