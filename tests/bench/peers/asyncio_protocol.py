"""Requests answered by a Protocol, without a task a connection: LOOP."""

from __future__ import annotations

import asyncio
import sys

from asyncio_streams import run_on
from responses import BODY, HEADER, REQUEST_SIZE, answer


class Responder(asyncio.Protocol):
    """One connection."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take the transport."""
        self.transport = transport
        self.have = 0

    def data_received(self, data: bytes) -> None:
        """Answer what is complete."""
        count, self.have = divmod(self.have + len(data), REQUEST_SIZE)
        if count:
            self.transport.writelines([HEADER, BODY] * count)


async def run() -> None:
    server = await asyncio.get_running_loop().create_server(
        Responder, "127.0.0.1", 0, backlog=1024
    )
    answer(ready=True, port=server.sockets[0].getsockname()[1])
    async with server:
        await server.serve_forever()


if __name__ == "__main__":
    run_on(sys.argv[1], run())
