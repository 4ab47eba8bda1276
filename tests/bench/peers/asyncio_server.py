"""Requests answered with ``writelines`` of a header and a body: LOOP."""

from __future__ import annotations

import asyncio
import sys

from asyncio_streams import run_on
from responses import BODY, HEADER, REQUEST_SIZE, answer


async def serve(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter
) -> None:
    have = 0
    while data := await reader.read(65536):
        count, have = divmod(have + len(data), REQUEST_SIZE)
        if count:
            writer.writelines([HEADER, BODY] * count)
            await writer.drain()
    writer.close()


async def run() -> None:
    server = await asyncio.start_server(serve, "127.0.0.1", 0, backlog=1024)
    answer(ready=True, port=server.sockets[0].getsockname()[1])
    async with server:
        await server.serve_forever()


if __name__ == "__main__":
    run_on(sys.argv[1], run())
