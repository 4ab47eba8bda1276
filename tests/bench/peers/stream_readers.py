"""Messages of a stream, which come many at a time: WAY PORT.

Each ends with a line feed, and is returned as bytes of its own.

until, exactly, frames   BufferedReceiveStream
loop                     what Trio programs do
asyncio, uvloop          StreamReader.readuntil
"""

from __future__ import annotations

import asyncio
import sys
from typing import TYPE_CHECKING, Any

import trio
from asyncio_streams import run_on
from measuring import Stopwatch, answer, header, requests

import triobatch

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

LIMIT = 65536


async def until(
    reader: triobatch.BufferedReceiveStream, count: int, size: int
) -> int:
    total = 0
    for _ in range(count):
        total += len(await reader.receive_until(b"\n", LIMIT))
    return total


async def exactly(
    reader: triobatch.BufferedReceiveStream, count: int, size: int
) -> int:
    total = 0
    for _ in range(count):
        total += len(await reader.receive_exactly(size))
    return total


def lines_of(view: memoryview) -> tuple[list[bytes], int]:
    whole = bytes(view)
    end = whole.rfind(b"\n") + 1
    return whole[:end].splitlines(keepends=True), end


async def frames(
    reader: triobatch.BufferedReceiveStream, count: int, size: int
) -> int:
    total = 0
    while count:
        lines = await reader.receive_frames(lines_of)
        count -= len(lines)
        total += sum(map(len, lines))
    return total


class Loop:
    """Keeps what is left of one receive_some for the next line."""

    def __init__(self, stream: trio.SocketStream) -> None:
        self._stream = stream
        self._buffer = bytearray()
        self._start = 0

    async def receive_line(self) -> bytes:
        end = self._buffer.find(b"\n", self._start) + 1
        while not end:
            del self._buffer[: self._start]
            searched = len(self._buffer)
            self._start = 0
            self._buffer += await self._stream.receive_some(LIMIT)
            end = self._buffer.find(b"\n", searched) + 1
        line = bytes(self._buffer[self._start : end])
        self._start = end
        return line


async def loop(reader: Loop, count: int, size: int) -> int:
    total = 0
    for _ in range(count):
        total += len(await reader.receive_line())
    return total


async def run(
    open_stream: Callable[..., Awaitable[Any]],
    wrap: Callable[[Any], Any],
    read: Callable[[Any, int, int], Awaitable[int]],
    port: int,
) -> None:
    stream = await open_stream("127.0.0.1", port)
    reader = wrap(stream)
    for request in requests():
        size = int(request.options["size"])
        watch = Stopwatch()
        await stream.send_all(header(request, size, request.count))
        total = await read(reader, request.count, size)
        answer(**watch.read(), count=request.count, bytes=total)


async def run_in_asyncio(port: int) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    for request in requests():
        size = int(request.options["size"])
        watch = Stopwatch()
        writer.write(header(request, size, request.count))
        total = 0
        for _ in range(request.count):
            total += len(await reader.readuntil(b"\n"))
        answer(**watch.read(), count=request.count, bytes=total)


if __name__ == "__main__":
    way, port = sys.argv[1], int(sys.argv[2])
    ways = {"until": until, "exactly": exactly, "frames": frames}
    if way in ways:
        trio.run(
            run,
            triobatch.open_tcp_stream,
            triobatch.BufferedReceiveStream,
            ways[way],
            port,
        )
    elif way == "loop":
        trio.run(run, trio.open_tcp_stream, Loop, loop, port)
    else:
        run_on(way, run_in_asyncio(port))
