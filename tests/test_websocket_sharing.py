"""trio-websocket on shared streams: its own task never finds one busy."""

from __future__ import annotations

from contextlib import asynccontextmanager

import pytest
import trio
from helpers import discard
from trio.testing import wait_all_tasks_blocked

import triobatch

trio_websocket = pytest.importorskip("trio_websocket")

HANDSHAKE = (
    b"GET / HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\n"
    b"Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
)
PING = b"\x89\x80\0\0\0\0"
PONG = b"\x8a\0"
CLIENTS = 300
# A frame of its length in eight bytes (RFC 6455, section 5.2).
SIZE = 20_000_000
FRAME = b"\x81\x7f" + SIZE.to_bytes(8, "big") + b"B" * SIZE


class Served:
    """A server of websockets, plain or with TLS, and who is connected."""

    def __init__(self, tls, encrypted):
        self._client, self._server = tls
        self._encrypted = encrypted
        self.alive = {}

    @asynccontextmanager
    async def serving(self):
        listeners = await triobatch.open_tcp_listeners(0, host="127.0.0.1")
        self._port = listeners[0].socket.getsockname()[1]
        if self._encrypted:
            listeners = [trio.SSLListener(x, self._server) for x in listeners]
        async with (
            triobatch.open_shared_listeners(listeners) as shared,
            trio.open_nursery() as nursery,
        ):
            nursery.start_soon(trio.serve_listeners, self._serve, shared)
            yield nursery
            nursery.cancel_scope.cancel()

    async def _serve(self, stream):
        async with stream, trio.open_nursery() as nursery:
            request = await trio_websocket.wrap_server_stream(nursery, stream)
            websocket = await request.accept()
            self.alive[stream] = None
            try:
                await websocket.get_message()
            except trio_websocket.ConnectionClosed:
                del self.alive[stream]

    async def connect(self):
        peer = raw = await trio.open_tcp_stream("127.0.0.1", self._port)
        if self._encrypted:
            peer = trio.SSLStream(
                raw, self._client, server_hostname="localhost"
            )
        await peer.send_all(HANDSHAKE)
        assert b"101" in await peer.receive_some()
        return peer, raw


encryption = pytest.mark.parametrize(
    "encrypted", [False, True], ids=["plain", "tls"]
)


@pytest.mark.slow
# Ten seconds of a CPU with TLS.
@pytest.mark.timeout(1000)
@encryption
async def test_three_hundred_live_beside_one_that_is_stuck(tls, encrypted):
    served = Served(tls, encrypted)
    frame = b"\x81\x7e" + (200).to_bytes(2, "big") + b"c" * 200
    received = []

    async def read(peer, size):
        data = b""
        while len(data) < size:
            data += await peer.receive_some()
        received.append(data)

    async with served.serving():
        peers = [await served.connect() for _ in range(CLIENTS)]
        await wait_all_tasks_blocked(0.05)
        stuck, *others = served.alive
        triobatch.broadcast_nowait([stuck], FRAME)
        async with trio.open_nursery() as readers:
            for peer, _ in peers[1:]:
                size = 10 * (len(frame) + len(PONG))
                readers.start_soon(read, peer, size)
            for _ in range(10):
                for peer, _ in peers:
                    await peer.send_all(PING)
                result = await triobatch.broadcast(served.alive, frame)
                statuses = [one.status for one in result]
                assert statuses == ["full", *["queued"] * len(others)]
        assert len(served.alive) == CLIENTS
        for _, raw in peers:
            raw.socket.close()
    for data in received:
        assert (data.count(frame), data.count(PONG)) == (10, 10)


@encryption
async def test_pings_beside_a_stuck_broadcast_end_nobody(tls, encrypted):
    served = Served(tls, encrypted)
    alive = served.alive
    async with served.serving() as nursery:
        peer, raw = await served.connect()
        await wait_all_tasks_blocked(0.05)
        (stream,) = alive
        result = triobatch.broadcast_nowait(alive, FRAME)
        assert [d.status for d in result] == ["queued"]
        # Nothing of it is read: it is stuck.
        await wait_all_tasks_blocked(0.05)
        result = await triobatch.broadcast(alive, FRAME)
        assert [d.status for d in result] == ["full"]
        for _ in range(3):
            await peer.send_all(PING)
            await wait_all_tasks_blocked(0.05)
        assert set(alive) == {stream}
        nursery.start_soon(discard, peer)
        # What waits for room, a pong, comes behind.
        await stream.wait_send_all_might_not_block()
        await stream.sender.flush()
        assert stream.sender.statistics().messages >= 3
        assert set(alive) == {stream}
    raw.socket.close()
