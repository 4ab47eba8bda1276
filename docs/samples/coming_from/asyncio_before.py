"""asyncio: a server for lines, with a deadline for slow clients."""

from __future__ import annotations

import asyncio


async def talk(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter
) -> None:
    try:
        while line := await reader.readline():
            writer.writelines([b"you said: ", line])
            await asyncio.wait_for(writer.drain(), 5)
            # After a timeout: how much of it was sent?
    finally:
        writer.close()


async def main() -> None:
    server = await asyncio.start_server(talk, "127.0.0.1", 0, limit=4096)
    async with server:
        port = server.sockets[0].getsockname()[1]
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"hello\n")
        writer.write_eof()
        print(await reader.read())
        writer.close()
        await writer.wait_closed()


asyncio.run(main())
