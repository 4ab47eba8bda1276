"""Datagram sockets for a sender: two that go, and one that is stuck."""

from __future__ import annotations

import pytest
import trio
from helpers import need_unix_sockets

from triobatch import DatagramSocket, open_udp_socket
from triobatch._senders import gathering


@pytest.fixture
def clock(monkeypatch):
    """The time by which a task that queues yields, in a list; it stands."""
    now = [0.0]
    monkeypatch.setattr(gathering, "perf_counter", lambda: now[0])
    return now


@pytest.fixture
async def udp_pair():
    """Two UDP sockets of the loopback, and the address of the second."""
    async with (
        await open_udp_socket(local_address=("127.0.0.1", 0)) as left,
        await open_udp_socket(local_address=("127.0.0.1", 0)) as right,
    ):
        yield left, right, right.socket.getsockname()


@pytest.fixture
def stuck_pair():
    """Two connected Unix sockets: the queue of the second is full."""
    need_unix_sockets()
    left, right = trio.socket.socketpair(type=trio.socket.SOCK_DGRAM)
    filled = DatagramSocket(left)
    with left, right:
        with pytest.raises(trio.WouldBlock):
            while True:
                filled.send_nowait(b"filling")
        yield filled, DatagramSocket(right)
