"""Batches of chunks, as Trio's own means allow: WAY PORT."""

from __future__ import annotations

import socket
import sys
from collections.abc import Awaitable, Callable

import trio
from measuring import (
    ACKNOWLEDGEMENT,
    Request,
    Stopwatch,
    answer,
    arrived,
    chunks_of,
    header,
    requests,
)

Send = Callable[[trio.SocketStream, list[bytes]], Awaitable[object]]
Open = Callable[[str, int], Awaitable[trio.SocketStream]]


async def each(stream: trio.SocketStream, chunks: list[bytes]) -> None:
    for chunk in chunks:
        await stream.send_all(chunk)


async def join(stream: trio.SocketStream, chunks: list[bytes]) -> None:
    await stream.send_all(b"".join(chunks))


async def sendmsg(stream: trio.SocketStream, chunks: list[bytes]) -> None:
    """Send with ``sendmsg``, as carefully as one has to."""
    left: list[bytes | memoryview] = list(chunks)
    while left:
        sent = await stream.socket.sendmsg(left[:1024])
        done = 0
        while done < len(left) and sent >= len(left[done]):
            sent -= len(left[done])
            done += 1
        del left[:done]
        if sent:
            left[0] = memoryview(left[0])[sent:]


async def open_plain(host: str, port: int) -> trio.SocketStream:
    """Open a stream without SocketStream's limit on what waits to be sent.

    That is a plain Trio socket, as its user has it.
    """
    stream = await trio.open_tcp_stream(host, port)
    stream.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, 2**31 - 1)
    return stream


async def receive_exactly(stream: trio.abc.ReceiveStream, size: int) -> bytes:
    received = b""
    while len(received) < size:
        more = await stream.receive_some(size - len(received))
        if not more:
            raise EOFError("the sink closed the connection")
        received += more
    return received


async def measure(
    stream: trio.SocketStream, send: Send, request: Request
) -> dict[str, object]:
    chunks = chunks_of(request)
    size = sum(map(len, chunks))
    await stream.send_all(header(request, size, request.count))
    watch = Stopwatch()
    for _ in range(request.count):
        await send(stream, chunks)
    acknowledgement = await receive_exactly(stream, ACKNOWLEDGEMENT.size)
    return watch.read() | arrived(acknowledgement) | {"count": request.count}


async def run(open_stream: Open, send: Send, port: int) -> None:
    case, stream = "", None
    for request in requests():
        if request.case != case:
            if stream is not None:
                await stream.aclose()
            stream = await open_stream("127.0.0.1", port)
            case = request.case
        assert stream is not None
        answer(**await measure(stream, send, request))


WAYS: dict[str, tuple[Open, Send]] = {
    "each": (trio.open_tcp_stream, each),
    "join": (trio.open_tcp_stream, join),
    "sendmsg": (open_plain, sendmsg),
}

if __name__ == "__main__":
    trio.run(run, *WAYS[sys.argv[1]], int(sys.argv[2]))
