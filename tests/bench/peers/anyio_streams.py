"""Batches of chunks with AnyIO on Trio: PORT."""

from __future__ import annotations

import sys

import anyio
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


async def receive_exactly(stream: anyio.abc.ByteStream, size: int) -> bytes:
    received = b""
    while len(received) < size:
        received += await stream.receive(size - len(received))
    return received


async def measure(
    stream: anyio.abc.SocketStream, request: Request
) -> dict[str, object]:
    chunks = chunks_of(request)
    size = sum(map(len, chunks))
    await stream.send(header(request, size, request.count))
    watch = Stopwatch()
    for _ in range(request.count):
        await stream.send(b"".join(chunks))
    acknowledgement = await receive_exactly(stream, ACKNOWLEDGEMENT.size)
    return watch.read() | arrived(acknowledgement) | {"count": request.count}


async def run(port: int) -> None:
    case, stream = "", None
    for request in requests():
        if request.case != case:
            if stream is not None:
                await stream.aclose()
            stream = await anyio.connect_tcp("127.0.0.1", port)
            case = request.case
        assert stream is not None
        answer(**await measure(stream, request))


if __name__ == "__main__":
    anyio.run(run, int(sys.argv[1]), backend="trio")
