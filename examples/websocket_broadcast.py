"""Broadcast on streams that trio-websocket owns, and not by its own means."""

from __future__ import annotations

import argparse
import signal
import ssl
import sys
from contextlib import suppress
from typing import Any

import trio

import triobatch

try:
    import trustme
    from trio_websocket import (
        ConnectionClosed,
        open_websocket,
        wrap_server_stream,
    )
    from wsproto.frame_protocol import FrameProtocol
except ModuleNotFoundError as error:
    sys.exit(f"needs {error.name}: pip install 'triobatch[examples]'")

clients: set[triobatch.SharedStream] = set()


async def serve_client(stream: triobatch.SharedStream) -> None:
    """Send what a client sends to all clients."""
    async with stream, trio.open_nursery() as nursery:
        with suppress(ConnectionClosed):
            ws = None
            with trio.move_on_after(10):
                ws = await (await wrap_server_stream(nursery, stream)).accept()
                clients.add(stream)
            while ws is not None and stream in clients:
                message = await ws.get_message()
                frame = FrameProtocol(False, []).send_data(message, fin=True)
                result = await triobatch.broadcast(clients, frame)
                for slow in result.missed:
                    nursery.start_soon(trio.aclose_forcefully, slow.stream)
        clients.discard(stream)
        nursery.cancel_scope.cancel()


async def main(count: int, tls: ssl.SSLContext | None) -> None:
    """Serve, and let one client greet all."""
    listeners: list[trio.abc.Listener[Any]] = []
    (own,) = await triobatch.open_tcp_listeners(0, host="127.0.0.1")
    host, port = own.socket.getsockname()
    listeners.append(own)
    if tls:
        (authority := trustme.CA()).configure_trust(tls)
        server = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        authority.issue_cert(host).configure_cert(server)
        listeners = [trio.SSLListener(own, server)]

    async def receive(task_status: trio.TaskStatus[Any]) -> None:
        secure = tls or False
        async with open_websocket(host, port, "/", use_ssl=secure) as end:
            task_status.started(end)
            assert await end.get_message() == "hello, all"

    sharing = triobatch.open_shared_listeners(listeners)
    async with sharing as shared, trio.open_nursery() as nursery:
        nursery.start_soon(trio.serve_listeners, serve_client, shared)
        async with trio.open_nursery() as others:
            ends = [await others.start(receive) for _ in range(count)]
            await ends[-1].send_message("hello, all")
        nursery.cancel_scope.cancel()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("clients", nargs="?", type=int, default=300)
    parser.add_argument("tls", nargs="?", choices=["tls"])
    options = parser.parse_args()
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    context = ssl.create_default_context() if options.tls else None
    trio.run(main, options.clients, context)
    # Not before: a peer of trio-websocket that closes would raise it, too.
    if hasattr(signal, "SIGPIPE"):
        signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    print(f"{options.clients} clients were greeted")
