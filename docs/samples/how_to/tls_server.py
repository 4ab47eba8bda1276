"""Lines over TLS, as pieces that share records."""
# Needs trustme.

from __future__ import annotations

import ssl
from typing import Any

import trio
import trustme

import triobatch


async def talk(stream: trio.SSLStream[Any]) -> None:
    reader = triobatch.BufferedReceiveStream(stream)
    try:
        while line := await reader.receive_until(b"\n", limit=4096):
            await triobatch.send_buffers(stream, [b"you said: ", line])
    except (
        EOFError,
        triobatch.FrameTooLargeError,
        trio.BrokenResourceError,
    ) as error:
        print("a client left:", type(error).__name__)


async def serve(
    context: ssl.SSLContext,
    *,
    task_status: trio.TaskStatus[int] = trio.TASK_STATUS_IGNORED,
) -> None:
    listeners = await triobatch.open_tcp_listeners(0, host="127.0.0.1")
    task_status.started(listeners[0].socket.getsockname()[1])
    await trio.serve_listeners(
        talk, [trio.SSLListener(listener, context) for listener in listeners]
    )


# Try it, with a certificate authority of our own.
async def main() -> None:
    authority = trustme.CA()
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("localhost").configure_cert(context)
    trusting = ssl.create_default_context()
    authority.configure_trust(trusting)
    async with trio.open_nursery() as nursery:
        port = await nursery.start(serve, context)
        transport = await triobatch.open_tcp_stream("127.0.0.1", port)
        async with trio.SSLStream(
            transport, trusting, server_hostname="localhost"
        ) as stream:
            await stream.send_all(b"hello\n")
            print(await stream.receive_some())
        nursery.cancel_scope.cancel()


trio.run(main)
