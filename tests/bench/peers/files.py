"""Files on a stream, which are open already: WAY PORT."""

from __future__ import annotations

import os
import sys
import tempfile
from functools import lru_cache
from typing import TYPE_CHECKING

import stdlib_streams
import trio
import trio_streams

import triobatch

if TYPE_CHECKING:
    import io
    import socket


@lru_cache(maxsize=1)
def file_of(content: bytes) -> io.BufferedRandom:
    """Return a file, all of which is in memory."""
    file = tempfile.TemporaryFile()  # noqa: SIM115 (kept open)
    file.write(content)
    file.flush()
    return file


async def send_file(
    stream: triobatch.BatchSocketStream, chunks: list[bytes]
) -> None:
    await stream.send_file(file_of(chunks[0]))


async def loop(stream: trio.SocketStream, chunks: list[bytes]) -> None:
    """Do as careful Trio programs do, which have no ``send_file``."""
    await trio.lowlevel.checkpoint()
    source, size, offset = file_of(chunks[0]).fileno(), len(chunks[0]), 0
    while offset < size:
        target = stream.socket.fileno()
        try:
            offset += os.sendfile(target, source, offset, size - offset)
        except BlockingIOError:
            await trio.lowlevel.wait_writable(target)


def blocking(sock: socket.socket, chunks: list[bytes]) -> None:
    source, size, offset = file_of(chunks[0]).fileno(), len(chunks[0]), 0
    while offset < size:
        offset += os.sendfile(sock.fileno(), source, offset, size - offset)


if __name__ == "__main__":
    way, port = sys.argv[1], int(sys.argv[2])
    if way == "blocking":
        stdlib_streams.run(blocking, port)
    elif way == "loop":
        trio.run(trio_streams.run, trio.open_tcp_stream, loop, port)
    else:
        trio.run(trio_streams.run, triobatch.open_tcp_stream, send_file, port)
