"""A reverse proxy: the first line says which server a connection is for."""

from __future__ import annotations

import functools

import trio

import triobatch

PATIENCE = 5  # seconds for the first line, and to connect
IDLE = 600  # seconds that a connection may last

upstreams: dict[bytes, int] = {}


async def hand_on(client: triobatch.BatchSocketStream) -> None:
    reader = triobatch.BufferedReceiveStream(client)
    try:
        with trio.fail_after(PATIENCE):
            name = (await reader.receive_until(b"\n", limit=256)).strip()
            server = await triobatch.open_tcp_stream(
                "127.0.0.1", upstreams[name]
            )
    except (KeyError, EOFError, triobatch.FrameTooLargeError):
        return
    except (OSError, trio.TooSlowError):
        await client.send_all(b"cannot connect\n")
        return
    # What the reader has beyond the first line goes first.
    async with server:
        with trio.move_on_after(IDLE):
            try:
                await triobatch.relay(reader, server)
            except trio.BrokenResourceError:
                pass  # one of them has gone


# Try it, with a server that shouts.
async def shout(stream: triobatch.BatchSocketStream) -> None:
    async for data in stream:
        await stream.send_all(data.upper())


async def main() -> None:
    async with trio.open_nursery() as nursery:
        serve = functools.partial(triobatch.serve_tcp, host="127.0.0.1")
        listeners = await nursery.start(serve, shout, 0)
        upstreams[b"shout"] = listeners[0].socket.getsockname()[1]
        listeners = await nursery.start(serve, hand_on, 0)
        address = listeners[0].socket.getsockname()
        async with await triobatch.open_tcp_stream(*address) as client:
            await client.send_all(b"shout\nhello, ")
            await client.send_all(b"world")
            await client.send_eof()
            print(b"".join([data async for data in client]))
        async with await triobatch.open_tcp_stream(*address) as client:
            await client.send_all(b"nobody\n")
            print(b"".join([data async for data in client]))
        nursery.cancel_scope.cancel()


trio.run(main)
