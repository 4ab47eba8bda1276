"""A server that Ctrl-C stops at once, without a traceback."""

from __future__ import annotations

import contextlib
import functools
import signal

import trio

import triobatch

LEAVING = EOFError, triobatch.FrameTooLargeError, trio.BrokenResourceError


async def answer(stream: triobatch.BatchSocketStream) -> None:
    reader = triobatch.BufferedReceiveStream(stream)
    with contextlib.suppress(*LEAVING):
        while request := await reader.receive_until(b"\n", limit=1000):
            await stream.send_buffers([b"done: ", request])


async def serve(
    port: int,
    *,
    task_status: trio.TaskStatus[int] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Serve until SIGINT or SIGTERM; tell the port once it listens."""
    listen = functools.partial(triobatch.serve_tcp, host="127.0.0.1")
    with trio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
        async with trio.open_nursery() as nursery:
            listeners = await nursery.start(listen, answer, port)
            task_status.started(listeners[0].socket.getsockname()[1])
            await anext(signals)
            nursery.cancel_scope.cancel()


# Try it: press Ctrl-C while a client is there.
async def main() -> None:
    async with trio.open_nursery() as nursery:
        port = await nursery.start(serve, 0)
        async with await triobatch.open_tcp_stream(
            "127.0.0.1", port
        ) as client:
            await client.send_all(b"a request\n")
            print(await client.receive_some())
            signal.raise_signal(signal.SIGINT)
            print("the end:", await client.receive_some())
    print("the server has ended")


trio.run(main)
