"""One message to many connections, with Trio's own means: WAY PORT."""

from __future__ import annotations

import sys
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

import trio
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
from trio_streams import receive_exactly

if TYPE_CHECKING:
    from trio_streams import Open

Send = Callable[[list[trio.SocketStream], bytes], Awaitable[None]]


async def loop(streams: list[trio.SocketStream], data: bytes) -> None:
    for stream in streams:
        await stream.send_all(data)


async def nursery(streams: list[trio.SocketStream], data: bytes) -> None:
    async with trio.open_nursery() as sending:
        for stream in streams:
            sending.start_soon(stream.send_all, data)


async def measure(
    control: trio.SocketStream,
    streams: list[trio.SocketStream],
    send: Send,
    request: Request,
) -> dict[str, object]:
    message = pattern(int(request.options["size"]))
    await control.send_all(
        broadcast_header(request, len(message), len(streams))
    )
    watch = Stopwatch()
    for _ in range(request.count):
        await send(streams, message)
    acknowledgement = await receive_exactly(control, ACKNOWLEDGEMENT.size)
    return watch.read() | arrived(acknowledgement) | {"count": request.count}


async def run(open_stream: Open, send: Send, port: int) -> None:
    control = await trio.open_tcp_stream("127.0.0.1", port)
    streams: list[trio.SocketStream] = []
    for request in requests():
        count = int(request.options["connections"])
        while len(streams) > count:
            await streams.pop().aclose()
        while len(streams) < count:
            streams.append(await open_stream("127.0.0.1", port))
        answer(**await measure(control, streams, send, request))


WAYS = {"loop": loop, "nursery": nursery}

if __name__ == "__main__":
    trio.run(run, trio.open_tcp_stream, WAYS[sys.argv[1]], int(sys.argv[2]))
