"""Batches through TLS: a client, a server, and certificates of one run.

    pip install trustme
    python examples/tls_echo.py

A hundred chunks go with one ``send_buffers``, which fills TLS records instead
of making one a chunk, and then a thousand tasks send through one
``BatchSender``. The server echoes all of it, and the client compares.
"""

from __future__ import annotations

import argparse
import signal
import ssl
import sys

import trio

import triobatch

try:
    import trustme
except ModuleNotFoundError as error:
    sys.exit(f"needs {error.name}: pip install 'triobatch[examples]'")

CHUNKS = [b"chunk %d\n" % number for number in range(100)]
TASKS = 1000


def contexts() -> tuple[ssl.SSLContext, ssl.SSLContext]:
    """Return what a client and a server need, for a CA of this run."""
    authority = trustme.CA()
    server = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("localhost").configure_cert(server)
    client = ssl.create_default_context()
    authority.configure_trust(client)
    return client, server


async def converse(
    stream: trio.SSLStream[triobatch.BatchSocketStream],
) -> bool:
    """Send in both ways; return whether the echo is right."""
    reader = triobatch.BufferedReceiveStream(stream)
    start = trio.current_time()
    size = await triobatch.send_buffers(stream, CHUNKS)
    right = await reader.receive_exactly(size) == b"".join(CHUNKS)
    print(
        f"send_buffers: {len(CHUNKS)} chunks, {size} bytes, "
        f"{(trio.current_time() - start) * 1e3:.1f} ms there and back"
    )
    messages = [b"message of task %4d\n" % task for task in range(TASKS)]
    start = trio.current_time()
    async with (
        triobatch.open_batch_sender(stream) as sender,
        trio.open_nursery() as nursery,
    ):
        for message in messages:
            nursery.start_soon(sender.send, message)
    echo = await reader.receive_exactly(sum(map(len, messages)))
    right = right and sorted(echo.splitlines(keepends=True)) == messages
    done = sender.statistics()
    print(
        f"BatchSender: {done.messages} messages of {TASKS} tasks in "
        f"{done.batches} batches, "
        f"{(trio.current_time() - start) * 1e3:.1f} ms there and back"
    )
    return right


async def main() -> int:
    """Serve, connect, and return the exit status."""
    client, server = contexts()

    async def echo(transport: trio.abc.Stream) -> None:
        stream = trio.SSLStream(transport, server, server_side=True)
        async for data in stream:
            await stream.send_all(data)

    async with trio.open_nursery() as nursery:
        listeners = await triobatch.open_tcp_listeners(0, host="127.0.0.1")
        nursery.start_soon(trio.serve_listeners, echo, listeners)
        port = listeners[0].socket.getsockname()[1]
        stream = trio.SSLStream(
            await triobatch.open_tcp_stream("127.0.0.1", port),
            client,
            server_hostname="localhost",
        )
        async with stream:
            right = await converse(stream)
        nursery.cancel_scope.cancel()
    print("the echo is right" if right else "the echo differs")
    return 0 if right else 1


if __name__ == "__main__":
    argparse.ArgumentParser(description="Batches through TLS.").parse_args()
    # Ctrl-C and `| head` end it without a traceback.
    for name in {"SIGINT", "SIGPIPE"} & {*dir(signal)}:
        signal.signal(getattr(signal, name), signal.SIG_DFL)
    sys.exit(trio.run(main))
