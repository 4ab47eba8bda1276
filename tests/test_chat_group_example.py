"""The chat room as one stream group: everybody gets all, the slow must go."""

from __future__ import annotations

import re

import trio
from programs import started
from trio import socket as tsocket

import triobatch


async def test_everybody_gets_every_line_and_who_does_not_read_is_dropped():
    with started("chat_server.py", "--group", "127.0.0.1:0") as server:
        line = server.stdout.readline()
        port = int(re.fullmatch(r"listening at .*:(\d+)\n", line)[1])
        slow = tsocket.socket()
        slow.setsockopt(tsocket.SOL_SOCKET, tsocket.SO_RCVBUF, 4096)
        await slow.connect(("127.0.0.1", port))
        talker = await triobatch.open_tcp_stream("127.0.0.1", port)
        listener = await triobatch.open_tcp_stream("127.0.0.1", port)
        with slow:
            # Both are in when this comes back.
            await listener.send_all(b"hello\n")
            for stream in (talker, listener):
                assert await stream.receive_some() == b"hello\n"
            text = b"".join(b"%06d" % i * 100 + b"\n" for i in range(20_000))

            async def listen(stream):
                received = bytearray()
                while len(received) < len(text):
                    data = await stream.receive_some()
                    assert data
                    received += data
                assert received == text

            async with trio.open_nursery() as nursery:
                nursery.start_soon(listen, talker)
                nursery.start_soon(listen, listener)
                await talker.send_all(text)
            dropped = await trio.to_thread.run_sync(server.stdout.readline)
            assert dropped.startswith("dropped a client: ")
        await talker.aclose()
        await listener.aclose()
