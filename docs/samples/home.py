"""A client that sends a thousand lines in one call, and a server."""

from __future__ import annotations

import functools

import trio

import triobatch


async def serve(stream: triobatch.BatchSocketStream) -> None:
    reader = triobatch.BufferedReceiveStream(stream)
    count = 0
    while await reader.receive_until(b"\n", limit=100):
        count += 1
    await stream.send_all(b"%d lines, thank you" % count)


async def main() -> None:
    async with trio.open_nursery() as nursery:
        (listener, *_) = await nursery.start(
            functools.partial(triobatch.serve_tcp, serve, 0, host="127.0.0.1")
        )
        port = listener.socket.getsockname()[1]
        async with await triobatch.open_tcp_stream(
            "127.0.0.1", port
        ) as stream:
            lines = triobatch.Buffers(b"line %d\n" % i for i in range(1000))
            with trio.fail_after(5):
                await stream.send_buffers(lines)  # one system call
            await stream.send_eof()
            print((await stream.receive_some()).decode())
            print(stream.statistics().send_calls, "system call to send them")
        nursery.cancel_scope.cancel()


trio.run(main)
