"""One message to many connections, ``write`` then ``drain``: LOOP PORT."""

from __future__ import annotations

import asyncio
import sys

from asyncio_streams import run_on
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
    reader: asyncio.StreamReader,
    control: asyncio.StreamWriter,
    writers: list[asyncio.StreamWriter],
    request: Request,
) -> dict[str, object]:
    message = pattern(int(request.options["size"]))
    control.write(broadcast_header(request, len(message), len(writers)))
    watch = Stopwatch()
    for _ in range(request.count):
        for writer in writers:
            writer.write(message)
        for writer in writers:
            await writer.drain()
    acknowledgement = await reader.readexactly(ACKNOWLEDGEMENT.size)
    return watch.read() | arrived(acknowledgement) | {"count": request.count}


async def run(port: int) -> None:
    reader, control = await asyncio.open_connection("127.0.0.1", port)
    writers: list[asyncio.StreamWriter] = []
    for request in requests():
        count = int(request.options["connections"])
        while len(writers) > count:
            writer = writers.pop()
            writer.close()
            await writer.wait_closed()
        while len(writers) < count:
            _, writer = await asyncio.open_connection("127.0.0.1", port)
            writers.append(writer)
        answer(**await measure(reader, control, writers, request))


if __name__ == "__main__":
    run_on(sys.argv[1], run(int(sys.argv[2])))
