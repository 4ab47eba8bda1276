"""A reverse proxy: the first line says which service a connection is for."""

from __future__ import annotations

import contextlib
import functools

import trio

import triobatch

PATIENCE = 5  # seconds for the first line, and to connect to one server
IDLE = 60  # seconds without a byte in either direction

# The servers of each service, by their ports.
services: dict[bytes, list[int]] = {}


async def hand_on(client: triobatch.BatchSocketStream) -> None:
    reader = triobatch.BufferedReceiveStream(client)
    try:
        with trio.fail_after(PATIENCE):
            name = (await reader.receive_until(b"\n", limit=256)).strip()
        server = await connect(services[name])
    except (KeyError, EOFError, triobatch.FrameTooLargeError):
        return  # it speaks nonsense
    except (trio.BrokenResourceError, trio.TooSlowError):
        return  # it has gone, or fallen asleep
    if server is None:
        with contextlib.suppress(trio.BrokenResourceError):
            await client.send_all(b"cannot connect\n")
        return
    async with server, trio.open_nursery() as nursery:
        nursery.start_soon(
            cancel_when_idle, nursery.cancel_scope, client, server
        )
        # Caught here: what a nursery lets out is in a group.
        with contextlib.suppress(trio.BrokenResourceError):
            # What the reader has beyond the first line goes first.
            await triobatch.relay(reader, server)
        nursery.cancel_scope.cancel()


async def connect(ports: list[int]) -> triobatch.BatchSocketStream | None:
    """Connect to the first server that is there."""
    for port in ports:
        with trio.move_on_after(PATIENCE), contextlib.suppress(OSError):
            return await triobatch.open_tcp_stream("127.0.0.1", port)
    return None


async def cancel_when_idle(
    scope: trio.CancelScope, *streams: triobatch.BatchSocketStream
) -> None:
    """Cancel what sends on the streams when nothing has been sent."""
    before: list[int] = []
    while True:
        sent = [stream.statistics().bytes_sent for stream in streams]
        if sent == before:
            scope.cancel()
        before = sent
        await trio.sleep(IDLE)


# Try it, with a server that shouts, and one that is dead.
async def shout(stream: triobatch.BatchSocketStream) -> None:
    async for data in stream:
        await stream.send_all(data.upper())


async def main() -> None:
    listener, *_ = await triobatch.open_tcp_listeners(0, host="127.0.0.1")
    dead = listener.socket.getsockname()[1]
    await listener.aclose()
    async with trio.open_nursery() as nursery:
        serve = functools.partial(triobatch.serve_tcp, host="127.0.0.1")
        listeners = await nursery.start(serve, shout, 0)
        services[b"shout"] = [dead, listeners[0].socket.getsockname()[1]]
        services[b"whisper"] = [dead]
        listeners = await nursery.start(serve, hand_on, 0)
        address = listeners[0].socket.getsockname()
        async with await triobatch.open_tcp_stream(*address) as client:
            await client.send_all(b"shout\nhello, ")
            await client.send_all(b"world")
            await client.send_eof()
            print(b"".join([data async for data in client]))
        for name in (b"whisper", b"nobody"):
            async with await triobatch.open_tcp_stream(*address) as client:
                await client.send_all(name + b"\n")
                print(b"".join([data async for data in client]))
        nursery.cancel_scope.cancel()


trio.run(main)
