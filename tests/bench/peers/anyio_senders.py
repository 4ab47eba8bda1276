"""Many tasks on one connection, with AnyIO on Trio: PORT."""

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
    header,
    pattern,
    requests,
)


async def measure(
    stream: anyio.abc.SocketStream, request: Request
) -> dict[str, object]:
    """Have every task send ``count`` messages; they start together."""
    task_count = int(request.options["tasks"])
    message = pattern(int(request.options["size"]))
    count = request.count * task_count
    await stream.send(header(request, len(message), count))
    started = anyio.Event()
    lock = anyio.Lock()

    async def one_task() -> None:
        await started.wait()
        for _ in range(request.count):
            async with lock:
                await stream.send(message)

    async with anyio.create_task_group() as group:
        for _ in range(task_count):
            group.start_soon(one_task)
        await anyio.wait_all_tasks_blocked()
        watch = Stopwatch()
        started.set()
        acknowledgement = await receive_exactly(stream, ACKNOWLEDGEMENT.size)
        taken = watch.read()
    return taken | arrived(acknowledgement) | {"count": count}


async def run(port: int) -> None:
    stream = await anyio.connect_tcp("127.0.0.1", port)
    for request in requests():
        answer(**await measure(stream, request))


if __name__ == "__main__":
    anyio.run(run, int(sys.argv[1]), backend="trio")
