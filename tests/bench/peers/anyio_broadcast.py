"""One message to many connections, with AnyIO on Trio: PORT."""

from __future__ import annotations

import sys

import anyio
from anyio_streams import receive_exactly
from measuring import (
    ACKNOWLEDGEMENT,
    Request,
    Stopwatch,
    answer,
    arrived,
    broadcast_header,
    pattern,
    requests,
)


async def measure(
    control: anyio.abc.SocketStream,
    streams: list[anyio.abc.SocketStream],
    request: Request,
) -> dict[str, object]:
    message = pattern(int(request.options["size"]))
    await control.send(broadcast_header(request, len(message), len(streams)))
    watch = Stopwatch()
    for _ in range(request.count):
        for stream in streams:
            await stream.send(message)
    acknowledgement = await receive_exactly(control, ACKNOWLEDGEMENT.size)
    return watch.read() | arrived(acknowledgement) | {"count": request.count}


async def run(port: int) -> None:
    control = await anyio.connect_tcp("127.0.0.1", port)
    streams: list[anyio.abc.SocketStream] = []
    for request in requests():
        count = int(request.options["connections"])
        while len(streams) > count:
            await streams.pop().aclose()
        while len(streams) < count:
            streams.append(await anyio.connect_tcp("127.0.0.1", port))
        answer(**await measure(control, streams, request))


if __name__ == "__main__":
    anyio.run(run, int(sys.argv[1]), backend="trio")
