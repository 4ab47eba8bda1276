"""A server on a group under a crowd, some of whom behave badly.

Whoever does not is answered, every byte of it, in order.
"""

from __future__ import annotations

import socket
import struct
from functools import partial

import pytest
import trio

import triobatch

CLIENTS = 200
REQUESTS = 20


async def echo(group, batch):
    for stream, error in group.send_batch_nowait(batch):
        # One floods, or does not read; one has reset its connection.
        assert isinstance(error, (trio.WouldBlock, trio.BrokenResourceError))
        await stream.aclose()


async def receive_exactly(stream, size):
    received = bytearray()
    while len(received) < size:
        data = await stream.receive_some()
        assert data, "the server has closed the connection"
        received += data
    return bytes(received)


async def behave(connect, i):
    """Ask, and compare the answers; every twentieth comes and goes."""
    stream = await connect()
    try:
        for number in range(REQUESTS):
            request = b"%05d.%05d;" % (i, number) * (1 + 37 * (number % 4))
            await stream.send_all(request)
            assert await receive_exactly(stream, len(request)) == request
            if i % 20 == 0:
                await stream.aclose()
                stream = await connect()
    finally:
        await stream.aclose()


async def half_close(connect):
    async with await connect() as stream:
        request = bytes(range(256)) * 4000
        async with trio.open_nursery() as nursery:

            @nursery.start_soon
            async def send():
                await stream.send_all(request)
                await stream.send_eof()

            assert await receive_exactly(stream, len(request)) == request
        assert await stream.receive_some() == b""


async def flood(connect):
    """Send without end, and read, but less."""
    async with await connect() as stream:

        async def send():
            while True:
                await stream.send_all(b"flood" * 10_000)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(send)
            while await stream.receive_some(1000):
                pass


async def never_read(connect):
    async with await connect() as stream:
        while True:
            await stream.send_all(b"unread" * 10_000)


async def reset(connect):
    while True:
        stream = await connect()
        await stream.send_all(b"reset" * 1000)
        stream.setsockopt(
            socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0)
        )
        await stream.aclose()
        await trio.sleep(0.001)


async def forgiving(misbehave, connect):
    try:
        await misbehave(connect)
    except (trio.BrokenResourceError, trio.ClosedResourceError):
        return


async def crowd(clients=CLIENTS):
    """Serve a crowd; return when those who behave have been answered."""
    async with trio.open_nursery() as nursery:
        listeners = await nursery.start(
            partial(triobatch.serve_tcp_batches, echo, 0, host="127.0.0.1")
        )
        port = listeners[0].socket.getsockname()[1]
        connect = partial(triobatch.open_tcp_stream, "127.0.0.1", port)
        for misbehave in (flood, never_read, reset):
            nursery.start_soon(forgiving, misbehave, connect)
        async with trio.open_nursery() as well:
            well.start_soon(half_close, connect)
            for i in range(clients):
                well.start_soon(behave, connect, i)
        nursery.cancel_scope.cancel()


@pytest.mark.slow
async def test_a_crowd_is_served_whatever_some_do(sets):
    await crowd()
