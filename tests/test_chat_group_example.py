"""The chat room as one stream group: everybody gets all, the slow must go."""

from __future__ import annotations

import re

import trio
from programs import started
from trio import socket as tsocket

import triobatch


async def receive_exactly(stream, size):
    received = bytearray()
    while len(received) < size:
        data = await stream.receive_some()
        assert data
        received += data
    return bytes(received)


async def test_everybody_gets_every_line_and_who_does_not_read_is_dropped():
    with (
        started("chat_server.py", "--group", "127.0.0.1:0") as server,
        tsocket.socket() as slow,
    ):
        line = server.stdout.readline()
        port = int(re.fullmatch(r"listening at .*:(\d+)\n", line)[1])
        slow.setsockopt(tsocket.SOL_SOCKET, tsocket.SO_RCVBUF, 4096)
        await slow.connect(("127.0.0.1", port))
        async with (
            await triobatch.open_tcp_stream("127.0.0.1", port) as talker,
            await triobatch.open_tcp_stream("127.0.0.1", port) as listener,
        ):
            # Both are in when this comes back.
            await listener.send_all(b"hello\n")
            for stream in (talker, listener):
                assert await stream.receive_some() == b"hello\n"
            # In step, so that nobody else is slow, however busy the machine.
            for i in range(250):
                text = (b"%06d" % i * 100 + b"\n") * 100
                await talker.send_all(text)
                for stream in (talker, listener):
                    assert await receive_exactly(stream, len(text)) == text
            dropped = await trio.to_thread.run_sync(server.stdout.readline)
            assert dropped.startswith("dropped a client: ")
