"""A chat server, step 6: it is stopped, and loses nobody's last line."""

from __future__ import annotations

import contextlib
import functools
import signal
import sys

import trio

import triobatch

MAX_BUFFERED = 65536
NAME_TIMEOUT = 10
IDLE_TIMEOUT = 3600
LEAVE_TIMEOUT = 5
# How long all clients together may take for the last lines, in seconds.
STOP_TIMEOUT = 5

LEAVING = (
    EOFError,
    triobatch.FrameTooLargeError,
    trio.BrokenResourceError,
    trio.ClosedResourceError,
    trio.TooSlowError,
)

clients: set[triobatch.SharedStream] = set()


async def say(*pieces: bytes) -> None:
    message = triobatch.Buffers(pieces)
    for delivery in triobatch.broadcast_nowait(clients, message).missed:
        print("dropped a client:", delivery.status)
        await trio.aclose_forcefully(delivery.stream)


async def receive_line(
    reader: triobatch.BufferedReceiveStream, seconds: float
) -> bytes:
    with trio.fail_after(seconds):
        return await reader.receive_until(b"\n", limit=4096)


async def chat(shared: triobatch.SharedStream) -> None:
    reader = triobatch.BufferedReceiveStream(shared)
    await shared.send_all(b"Who are you?\n")
    name = (await receive_line(reader, NAME_TIMEOUT)).strip()
    clients.add(shared)
    try:
        await say(name, b" is here\n")
        while line := await receive_line(reader, IDLE_TIMEOUT):
            await say(name, b": ", line)
    finally:
        clients.discard(shared)
        await say(name, b" has left\n")


async def talk(stream: triobatch.BatchSocketStream) -> None:
    try:
        async with triobatch.open_shared_stream(
            stream, max_buffered=MAX_BUFFERED
        ) as shared:
            await chat(shared)
            with trio.fail_after(LEAVE_TIMEOUT):
                await shared.sender.flush()
    except LEAVING as error:
        print("a client left:", type(error).__name__)


async def serve(
    port: int,
    *,
    task_status: trio.TaskStatus[int] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Serve until SIGINT or SIGTERM; tell the port once it listens."""
    signals = trio.open_signal_receiver(signal.SIGINT, signal.SIGTERM)
    async with trio.open_nursery() as handlers:
        listen = functools.partial(
            triobatch.serve_tcp, host="127.0.0.1", handler_nursery=handlers
        )
        with signals as told:
            async with trio.open_nursery() as accepting:
                listeners = await accepting.start(listen, talk, port)
                task_status.started(listeners[0].socket.getsockname()[1])
                await anext(told)
                accepting.cancel_scope.cancel()
        await say(b"The room is closing.\n")
        with trio.move_on_after(STOP_TIMEOUT):
            for client in list(clients):
                # Who leaves now does not keep the others from their lines.
                with contextlib.suppress(*LEAVING):
                    await client.sender.flush()
        handlers.cancel_scope.cancel()


# Try it: with a port it serves until Ctrl-C, without one it talks to itself.
async def main() -> None:
    if sys.argv[1:]:
        await serve(int(sys.argv[1]))
        return
    async with trio.open_nursery() as nursery:
        port = await nursery.start(serve, 0)
        async with await triobatch.open_tcp_stream("127.0.0.1", port) as ann:
            lines = triobatch.BufferedReceiveStream(ann)
            await ann.send_all(b"ann\n")
            print("ann hears", await lines.receive_until(b"\n", 4096))
            print("ann hears", await lines.receive_until(b"\n", 4096))
            signal.raise_signal(signal.SIGTERM)
            while line := await lines.receive_until(b"\n", 4096):
                print("ann hears", line)
        print("the server has ended")


trio.run(main)
