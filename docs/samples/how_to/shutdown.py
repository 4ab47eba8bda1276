"""Stop a server in order: accept no more, finish, then cancel."""

from __future__ import annotations

import contextlib
import functools
import signal

import trio

import triobatch

STOP_TIMEOUT = 5  # seconds

# What a client can cause ends its own connection, and not the server.
LEAVING = EOFError, triobatch.FrameTooLargeError, trio.BrokenResourceError


async def serve(
    *, task_status: trio.TaskStatus[int] = trio.TASK_STATUS_IGNORED
) -> None:
    async with trio.open_nursery() as handlers:
        listen = functools.partial(
            triobatch.serve_tcp, host="127.0.0.1", handler_nursery=handlers
        )
        with trio.open_signal_receiver(
            signal.SIGINT, signal.SIGTERM
        ) as signals:
            async with trio.open_nursery() as accepting:
                listeners = await accepting.start(listen, answer, 0)
                task_status.started(listeners[0].socket.getsockname()[1])
                await anext(signals)
                accepting.cancel_scope.cancel()
        # Nobody new comes in. Those who are there have this long.
        handlers.cancel_scope.deadline = trio.current_time() + STOP_TIMEOUT


async def answer(stream: triobatch.BatchSocketStream) -> None:
    reader = triobatch.BufferedReceiveStream(stream)
    with contextlib.suppress(*LEAVING):
        while request := await reader.receive_until(b"\n", limit=1000):
            await trio.sleep(0.1)  # work
            await stream.send_buffers([b"done: ", request])


# Try it: stop it in the middle of a request.
async def main() -> None:
    async with trio.open_nursery() as nursery:
        port = await nursery.start(serve)
        async with await triobatch.open_tcp_stream(
            "127.0.0.1", port
        ) as client:
            await client.send_all(b"a request\n")
            await trio.sleep(0.05)
            signal.raise_signal(signal.SIGTERM)
            print(await client.receive_some())
            try:
                await triobatch.open_tcp_stream("127.0.0.1", port)
            except OSError:
                print("nobody new is let in")


trio.run(main)
