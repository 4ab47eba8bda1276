"""ASGI on Hypercorn, corked; no HTTP/3: its UDPServer opens its own socket."""

import ssl
from contextvars import ContextVar

import httpx
import trio
import trustme
from hypercorn.config import Config
from hypercorn.trio.tcp_server import TCPServer
from hypercorn.trio.worker_context import WorkerContext
from hypercorn.typing import ConnectionState
from hypercorn.utils import wrap_app

import triobatch

PIECES = [b"piece %d\n" % number for number in range(64)]
connection = ContextVar("connection")


async def application(scope, receive, send):
    """Answer in many pieces, as a template does, that leave together."""
    with connection.get().sender.corked():
        await send({"type": "http.response.start", "status": 200})
        for body in [*PIECES, b""]:
            more = {"body": body, "more_body": body != b""}
            await send({"type": "http.response.body", **more})


async def main() -> None:
    """Serve HTTP/1.1 and HTTP/2, and ask by each."""
    authority = trustme.CA()
    server = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    server.set_alpn_protocols(["h2", "http/1.1"])
    authority.issue_cert("127.0.0.1").configure_cert(server)
    authority.configure_trust(client := ssl.create_default_context())
    streams = []

    async def serve(stream: triobatch.SharedStream) -> None:
        connection.set(stream)
        streams.append(stream)
        tls = trio.SSLStream(stream, server, server_side=True)
        app, worker = wrap_app(application, 2**16, "asgi"), WorkerContext(None)
        await TCPServer(app, Config(), worker, ConnectionState({}), tls)

    inner = await triobatch.open_tcp_listeners(0, host="127.0.0.1")
    url = f"https://127.0.0.1:{inner[0].socket.getsockname()[1]}/"
    sharing = triobatch.open_shared_listeners(inner)
    async with sharing as listeners, trio.open_nursery() as nursery:
        nursery.start_soon(trio.serve_listeners, serve, listeners)
        for http2 in (False, True):
            async with httpx.AsyncClient(http2=http2, verify=client) as web:
                reply = await web.get(url)
            assert reply.content == b"".join(PIECES)
            print(reply.http_version, streams[-1].sender.statistics())
        nursery.cancel_scope.cancel()


if __name__ == "__main__":
    trio.run(main)
