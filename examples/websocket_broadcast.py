"""Broadcast on streams that trio-websocket owns: ``[CLIENTS] [tls]``."""

import ssl
import sys
from contextlib import suppress

import trio
import trustme
from trio_websocket import ConnectionClosed, open_websocket, wrap_server_stream
from wsproto.frame_protocol import FrameProtocol

import triobatch

clients: set[triobatch.SharedStream] = set()


async def serve_client(stream: triobatch.SharedStream) -> None:
    """Send what a client sends to all clients."""
    async with stream, trio.open_nursery() as nursery:
        with suppress(ConnectionClosed):
            with trio.move_on_after(10):
                ws = await (await wrap_server_stream(nursery, stream)).accept()
                clients.add(stream)
            while stream in clients:
                message = await ws.get_message()
                frame = FrameProtocol(False, []).send_data(message, fin=True)
                for slow in triobatch.broadcast_nowait(clients, frame).missed:
                    nursery.start_soon(trio.aclose_forcefully, slow.stream)
        clients.discard(stream)
        nursery.cancel_scope.cancel()


async def main(count: int, tls: ssl.SSLContext | None) -> None:
    """Serve, and let one client greet all."""
    listeners = await triobatch.open_tcp_listeners(0, host="127.0.0.1")
    address = listeners[0].socket.getsockname()
    if tls:
        (authority := trustme.CA()).configure_trust(tls)
        server = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        authority.issue_cert(address[0]).configure_cert(server)
        listeners = [trio.SSLListener(listeners[0], server)]

    async def receive(task_status: trio.TaskStatus) -> None:
        async with open_websocket(*address, "/", use_ssl=tls or False) as end:
            task_status.started(end)
            assert await end.get_message() == "hello, all"

    sharing = triobatch.open_shared_listeners(listeners)
    async with sharing as shared, trio.open_nursery() as nursery:
        nursery.start_soon(trio.serve_listeners, serve_client, shared)
        async with trio.open_nursery() as others:
            ends = [await others.start(receive) for _ in range(count)]
            await ends[-1].send_message("hello, all")
        nursery.cancel_scope.cancel()
    print(f"{count} clients were greeted")


if __name__ == "__main__":
    context = ssl.create_default_context() if "tls" in sys.argv else None
    trio.run(main, int([*sys.argv, "300"][1]), context)
