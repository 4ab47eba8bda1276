"""httpx over triobatch, by public names: a transport, a pool, a backend."""

import sys
from math import inf

import httpcore
import httpx
import trio

import triobatch


class Connection(httpcore.AsyncNetworkStream):
    """A stream, as httpcore uses it."""

    def __init__(self, stream: trio.abc.Stream) -> None:
        self.stream = stream
        self.aclose = stream.aclose

    async def read(self, max_bytes, timeout=None):
        with trio.fail_after(timeout or inf):
            return await self.stream.receive_some(max_bytes)

    async def write(self, buffer, timeout=None):
        with trio.fail_after(timeout or inf):
            await self.stream.send_all(buffer)


class Backend(httpcore.AsyncNetworkBackend):
    """Connects as triobatch does."""

    async def connect_tcp(self, host, port, timeout=None, **_options):
        with trio.fail_after(timeout or inf):
            return Connection(await triobatch.open_tcp_stream(host, port))


class Transport(httpx.AsyncBaseTransport):
    """Sends requests through a pool of such connections."""

    def __init__(self) -> None:
        self.pool = httpcore.AsyncConnectionPool(network_backend=Backend())

    async def handle_async_request(self, request):
        url, headers = str(request.url), request.headers.raw
        reply = await self.pool.request(
            request.method, url, headers=headers, content=await request.aread()
        )
        body = {"headers": reply.headers, "content": reply.content}
        return httpx.Response(reply.status, **body)


async def main(url: str) -> None:
    """Get a document, and say what it is."""
    async with httpx.AsyncClient(transport=Transport()) as client:
        reply = await client.get(url)
    print(reply.status_code, len(reply.content), "bytes")


if __name__ == "__main__":
    trio.run(main, *sys.argv[1:] or sys.exit("usage: httpx_client.py URL"))
