"""ASGI on Hypercorn, corked: HTTP/1.1 and HTTP/2, and what they cost."""

from __future__ import annotations

import argparse
import signal
import ssl
import sys
from contextvars import ContextVar
from typing import Any

import trio

import triobatch

try:
    import httpx
    import trustme
    from hypercorn.config import Config
    from hypercorn.trio.tcp_server import TCPServer
    from hypercorn.trio.worker_context import WorkerContext
    from hypercorn.typing import ConnectionState
    from hypercorn.utils import wrap_app
except ModuleNotFoundError as error:
    sys.exit(f"needs {error.name}: pip install 'triobatch[examples]'")

PIECES = [b"piece %d\n" % number for number in range(64)]
connection: ContextVar[triobatch.SharedStream] = ContextVar("connection")


async def application(scope: Any, receive: Any, send: Any) -> None:
    """Answer in many pieces, as a template does, that leave together."""
    with connection.get().sender.corked():
        await send({"type": "http.response.start", "status": 200})
        for body in [*PIECES, b""]:
            more = {"body": body, "more_body": body != b""}
            await send({"type": "http.response.body", **more})


async def main() -> list[str]:
    """Serve HTTP/1.1 and HTTP/2, ask by each, and return what it took."""
    authority = trustme.CA()
    server = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    server.set_alpn_protocols(["h2", "http/1.1"])
    authority.issue_cert("127.0.0.1").configure_cert(server)
    authority.configure_trust(client := ssl.create_default_context())
    streams: list[triobatch.SharedStream] = []

    async def serve(stream: triobatch.SharedStream) -> None:
        connection.set(stream)
        streams.append(stream)
        tls: Any = trio.SSLStream(stream, server, server_side=True)
        app, worker = wrap_app(application, 2**16, "asgi"), WorkerContext(None)
        await TCPServer(app, Config(), worker, ConnectionState({}), tls)

    inner = await triobatch.open_tcp_listeners(0, host="127.0.0.1")
    url = f"https://127.0.0.1:{inner[0].socket.getsockname()[1]}/"
    sharing = triobatch.open_shared_listeners(inner)
    report = []
    async with sharing as listeners, trio.open_nursery() as nursery:
        nursery.start_soon(trio.serve_listeners, serve, listeners)
        for http2 in (False, True):
            async with httpx.AsyncClient(http2=http2, verify=client) as web:
                reply = await web.get(url)
            assert reply.content == b"".join(PIECES)
            done = streams[-1].sender.statistics()
            report.append(f"{reply.http_version} {done}")
        nursery.cancel_scope.cancel()
    return report


if __name__ == "__main__":
    argparse.ArgumentParser(description=__doc__).parse_args()
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    lines = trio.run(main)
    # Not before: a peer of httpx that closes would raise it, too.
    if hasattr(signal, "SIGPIPE"):
        signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    print(*lines, sep="\n")
