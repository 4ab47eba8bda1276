"""Many tasks on one connection, with Trio's own means: PORT."""

from __future__ import annotations

import sys
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import TYPE_CHECKING

import trio
import trio.testing
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
from trio_streams import receive_exactly

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from trio_streams import Open

Send = Callable[[bytes], Awaitable[object]]
Sending = Callable[[trio.SocketStream], AbstractAsyncContextManager[Send]]


@asynccontextmanager
async def lock(stream: trio.SocketStream) -> AsyncIterator[Send]:
    held = trio.Lock()

    async def send(message: bytes) -> None:
        async with held:
            await stream.send_all(message)

    yield send


async def measure(
    stream: trio.SocketStream, sending: Sending, request: Request
) -> dict[str, object]:
    """Have every task send ``count`` messages; they start together."""
    task_count = int(request.options["tasks"])
    message = pattern(int(request.options["size"]))
    count = request.count * task_count
    await stream.send_all(header(request, len(message), count))
    started = trio.Event()

    async def one_task(send: Send) -> None:
        await started.wait()
        for _ in range(request.count):
            await send(message)

    async with sending(stream) as send, trio.open_nursery() as nursery:
        for _ in range(task_count):
            nursery.start_soon(one_task, send)
        await trio.testing.wait_all_tasks_blocked()
        watch = Stopwatch()
        started.set()
        acknowledgement = await receive_exactly(stream, ACKNOWLEDGEMENT.size)
        taken = watch.read()
    return taken | arrived(acknowledgement) | {"count": count}


async def run(open_stream: Open, sending: Sending, port: int) -> None:
    stream = await open_stream("127.0.0.1", port)
    for request in requests():
        answer(**await measure(stream, sending, request))


if __name__ == "__main__":
    trio.run(run, trio.open_tcp_stream, lock, int(sys.argv[1]))
