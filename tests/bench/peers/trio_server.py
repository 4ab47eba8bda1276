"""Requests answered with a header and a body, with Trio's own means: WAY."""

from __future__ import annotations

import sys
from collections.abc import Awaitable, Callable
from functools import partial

import trio
from responses import BODY, HEADER, REQUEST_SIZE, answer

Respond = Callable[[trio.SocketStream, int], Awaitable[object]]


async def each(stream: trio.SocketStream, count: int) -> None:
    for _ in range(count):
        await stream.send_all(HEADER)
        await stream.send_all(BODY)


async def join(stream: trio.SocketStream, count: int) -> None:
    await stream.send_all(b"".join([HEADER, BODY] * count))


async def serve(respond: Respond, stream: trio.SocketStream) -> None:
    have = 0
    while data := await stream.receive_some():
        count, have = divmod(have + len(data), REQUEST_SIZE)
        if count:
            await respond(stream, count)


async def run(
    serve_tcp: Callable[..., Awaitable[None]], respond: Respond
) -> None:
    async with trio.open_nursery() as nursery:
        listeners = await nursery.start(
            partial(serve_tcp, partial(serve, respond), 0, host="127.0.0.1")
        )
        answer(ready=True, port=listeners[0].socket.getsockname()[1])


WAYS: dict[str, Respond] = {"each": each, "join": join}

if __name__ == "__main__":
    trio.run(run, trio.serve_tcp, WAYS[sys.argv[1]])
