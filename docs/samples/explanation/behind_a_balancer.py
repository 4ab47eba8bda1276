"""Learn the client's address from the balancer that hands it on."""

from __future__ import annotations

import functools

import trio

import triobatch


async def handler(stream: triobatch.BatchSocketStream) -> None:
    reader = triobatch.BufferedReceiveStream(stream)
    with trio.fail_after(5):
        header = await triobatch.receive_proxy_header(reader)
    client = header.source or stream.socket.getpeername()
    print("a connection of", client)
    await stream.send_all(await reader.receive_until(b"\n", limit=100))


async def main() -> None:
    async with trio.open_nursery() as nursery:
        (listener, *_) = await nursery.start(
            functools.partial(
                triobatch.serve_tcp, handler, 0, host="127.0.0.1"
            )
        )
        address = listener.socket.getsockname()
        # What HAProxy does with `send-proxy-v2`.
        header = triobatch.ProxyHeader(
            source=("192.0.2.7", 50000), destination=("192.0.2.1", 443)
        )
        async with await triobatch.open_tcp_stream(*address) as stream:
            await stream.send_buffers([header.encode(), b"hello\n"])
            print((await stream.receive_some()).decode(), end="")
        nursery.cancel_scope.cancel()


trio.run(main)
