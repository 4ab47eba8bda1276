"""httpx over triobatch, by public names: a transport, a pool, a backend."""

from __future__ import annotations

import argparse
import signal
import sys
from math import inf
from typing import Any

import trio

import triobatch

try:
    import httpcore
    import httpx
except ModuleNotFoundError as error:
    sys.exit(f"needs {error.name}: pip install 'triobatch[examples]'")


class Connection(httpcore.AsyncNetworkStream):
    """A stream, as httpcore uses it."""

    def __init__(self, stream: trio.abc.Stream) -> None:
        self.stream = stream

    async def read(
        self, max_bytes: int, timeout: float | None = None
    ) -> bytes:
        with trio.fail_after(timeout or inf):
            return bytes(await self.stream.receive_some(max_bytes))

    async def write(self, buffer: bytes, timeout: float | None = None) -> None:
        with trio.fail_after(timeout or inf):
            await self.stream.send_all(buffer)

    async def aclose(self) -> None:
        await self.stream.aclose()


class Backend(httpcore.AsyncNetworkBackend):
    """Connects as triobatch does."""

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        *_: Any,
        **__: Any,
    ) -> Connection:
        with trio.fail_after(timeout or inf):
            return Connection(await triobatch.open_tcp_stream(host, port))


class Transport(httpx.AsyncBaseTransport):
    """Sends requests through a pool of such connections."""

    def __init__(self) -> None:
        self.pool = httpcore.AsyncConnectionPool(network_backend=Backend())

    async def handle_async_request(
        self, request: httpx.Request
    ) -> httpx.Response:
        url, headers = str(request.url), request.headers.raw
        body = await request.aread()
        reply = await self.pool.request(
            request.method, url, headers=headers, content=body
        )
        return httpx.Response(
            reply.status, headers=reply.headers, content=reply.content
        )


async def main(url: str) -> None:
    """Get a document, and say what it is."""
    async with httpx.AsyncClient(transport=Transport()) as client:
        reply = await client.get(url)
    print(reply.status_code, len(reply.content), "bytes")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("url", help="of a document: http://...")
    url = parser.parse_args().url
    if not url.startswith("http://"):
        parser.error(f"{url!r} does not begin with http://")
    # Ctrl-C and `| head` end it without a traceback.
    for name in {"SIGINT", "SIGPIPE"} & {*dir(signal)}:
        signal.signal(getattr(signal, name), signal.SIG_DFL)
    try:
        trio.run(main, url)
    except (OSError, trio.TooSlowError, httpx.HTTPError) as error:
        sys.exit(f"cannot get {url}: {error}")
