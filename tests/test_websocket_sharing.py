"""trio-websocket on shared streams: its own task never finds one busy."""

from __future__ import annotations

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
# A frame of its length in eight bytes (RFC 6455, section 5.2).
SIZE = 20_000_000
FRAME = b"\x81\x7f" + SIZE.to_bytes(8, "big") + b"B" * SIZE


@pytest.mark.parametrize("encrypted", [False, True], ids=["plain", "tls"])
async def test_pings_beside_a_stuck_broadcast_end_nobody(tls, encrypted):
    client, server = tls
    listeners = await triobatch.open_tcp_listeners(0, host="127.0.0.1")
    port = listeners[0].socket.getsockname()[1]
    if encrypted:
        listeners = [trio.SSLListener(one, server) for one in listeners]
    alive = set()

    async def serve(stream):
        async with stream, trio.open_nursery() as nursery:
            request = await trio_websocket.wrap_server_stream(nursery, stream)
            websocket = await request.accept()
            alive.add(stream)
            try:
                await websocket.get_message()
            except trio_websocket.ConnectionClosed:
                alive.discard(stream)

    async with (
        triobatch.open_shared_listeners(listeners) as shared,
        trio.open_nursery() as nursery,
    ):
        nursery.start_soon(trio.serve_listeners, serve, shared)
        peer = raw = await trio.open_tcp_stream("127.0.0.1", port)
        if encrypted:
            peer = trio.SSLStream(raw, client, server_hostname="localhost")
        await peer.send_all(HANDSHAKE)
        assert b"101" in await peer.receive_some()
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
        assert alive == {stream}
        nursery.start_soon(discard, peer)
        # What waits for room, a pong, comes behind.
        await stream.wait_send_all_might_not_block()
        await stream.sender.flush()
        assert stream.sender.statistics().messages >= 3
        assert alive == {stream}
        nursery.cancel_scope.cancel()
    raw.socket.close()
