"""Many tasks on one connection, with ``write`` and ``drain``: LOOP PORT."""

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
    header,
    pattern,
    requests,
)


async def measure(
    reader: asyncio.StreamReader,
    writer: asyncio.StreamWriter,
    request: Request,
) -> dict[str, object]:
    """Have every task send ``count`` messages; they start together."""
    task_count = int(request.options["tasks"])
    message = pattern(int(request.options["size"]))
    count = request.count * task_count
    writer.write(header(request, len(message), count))
    started = asyncio.Event()

    async def one_task() -> None:
        await started.wait()
        for _ in range(request.count):
            writer.write(message)
            await writer.drain()

    tasks = [asyncio.create_task(one_task()) for _ in range(task_count)]
    # Once round the loop: all of them wait.
    await asyncio.sleep(0)
    watch = Stopwatch()
    started.set()
    acknowledgement = await reader.readexactly(ACKNOWLEDGEMENT.size)
    taken = watch.read()
    await asyncio.gather(*tasks)
    return taken | arrived(acknowledgement) | {"count": count}


async def run(port: int) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    for request in requests():
        answer(**await measure(reader, writer, request))


if __name__ == "__main__":
    run_on(sys.argv[1], run(int(sys.argv[2])))
