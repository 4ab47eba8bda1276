"""Requests answered with a header and a body, with AnyIO on Trio."""

from __future__ import annotations

import anyio
from responses import BODY, HEADER, REQUEST_SIZE, answer


async def serve(stream: anyio.abc.SocketStream) -> None:
    have = 0
    async with stream:
        async for data in stream:
            count, have = divmod(have + len(data), REQUEST_SIZE)
            if count:
                await stream.send(b"".join([HEADER, BODY] * count))


async def run() -> None:
    listener = await anyio.create_tcp_listener(local_host="127.0.0.1")
    port = listener.extra(anyio.abc.SocketAttribute.local_port)
    answer(ready=True, port=port)
    await listener.serve(serve)


if __name__ == "__main__":
    anyio.run(run, backend="trio")
