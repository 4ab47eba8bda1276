"""Batches of chunks with ``writelines`` and ``drain``: LOOP PORT.

LOOP is asyncio or uvloop. Both make one system call of a batch, at once.
"""

from __future__ import annotations

import asyncio
import sys

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


async def measure(
    reader: asyncio.StreamReader,
    writer: asyncio.StreamWriter,
    request: Request,
) -> dict[str, object]:
    chunks = chunks_of(request)
    size = sum(map(len, chunks))
    writer.write(header(request, size, request.count))
    watch = Stopwatch()
    for _ in range(request.count):
        writer.writelines(chunks)
        await writer.drain()
    acknowledgement = await reader.readexactly(ACKNOWLEDGEMENT.size)
    return watch.read() | arrived(acknowledgement) | {"count": request.count}


async def run(port: int) -> None:
    case, writer = "", None
    for request in requests():
        if request.case != case:
            if writer is not None:
                writer.close()
                await writer.wait_closed()
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            case = request.case
        assert writer is not None
        answer(**await measure(reader, writer, request))


def run_on(loop: str, main) -> None:
    """Run a coroutine on asyncio's own loop, or on uvloop's."""
    if loop == "uvloop":
        import uvloop  # noqa: PLC0415 (it is optional)

        uvloop.run(main)
    else:
        asyncio.run(main)


if __name__ == "__main__":
    run_on(sys.argv[1], run(int(sys.argv[2])))
