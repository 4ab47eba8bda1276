"""A server under load takes over what waits in the kernel, in order."""

from __future__ import annotations

import os
import socket

import pytest
import trio
from needs import needs_unix_sockets

from triobatch import (
    DatagramSocket,
    open_batch_sender,
    open_udp_socket,
    open_unix_datagram_socket,
    serve_datagrams,
)
from triobatch._senders import asked
from triobatch._senders.asked import AskedReceiver


async def opened(host="127.0.0.1"):
    return await open_udp_socket(
        local_address=(host, 0), receive_buffer_size=2**21
    )


def numbered(count):
    return [number.to_bytes(4, "big") for number in range(count)]


class Handler:
    """Notes what comes, and what the socket had received by then."""

    def __init__(self, sock, wanted):
        self.payloads = []
        self.received = []
        self.calls = []
        self.done = trio.Event()
        self._sock = sock
        self._wanted = wanted

    async def __call__(self, datagrams, sender):
        self.payloads += [payload for payload, _ in datagrams]
        statistics = self._sock.statistics()
        self.received.append(statistics.datagrams_received)
        self.calls.append(statistics.receive_calls)
        if len(self.payloads) >= self._wanted:
            self.done.set()


def queue(sock, payloads):
    """Send each by itself, so that the kernel makes no trains of them."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as plain:
        for payload in payloads:
            plain.sendto(payload, ("127.0.0.1", sock.local_address[1]))


async def served(sock, wanted, **options):
    """Serve until so many have come; return the handler."""
    handler = Handler(sock, wanted)
    async with trio.open_nursery() as nursery:
        await nursery.start(
            lambda task_status: serve_datagrams(
                handler, [sock], task_status=task_status, **options
            )
        )
        with trio.fail_after(60):
            await handler.done.wait()
        nursery.cancel_scope.cancel()
    return handler


@pytest.mark.parametrize("host", ["127.0.0.1", "0.0.0.0"])
@pytest.mark.parametrize("limit", [1, 64, 1000])
async def test_all_come_once_and_in_order(host, limit):
    sock = await opened(host)
    payloads = numbered(1500)
    queue(sock, payloads)
    handler = await served(sock, len(payloads), max_datagrams=limit)
    assert handler.payloads == payloads


async def test_before_the_first_is_answered_it_is_so_far_ahead():
    sock = await opened()
    queue(sock, numbered(1500))
    handler = await served(sock, 1500)
    assert asked.AHEAD <= handler.received[0] < asked.AHEAD + 2 * 64
    # The handlers of batches run in any order.
    assert handler.received[9] > asked.AHEAD
    # Room for more only as a batch is handed on.
    for batches, received in enumerate(handler.received, 1):
        assert received <= asked.AHEAD + (batches + 1) * 64


@pytest.mark.parametrize("limit", ["count", "size"])
async def test_it_stays_so_far_ahead_however_many_were_handed_on(
    monkeypatch, limit
):
    ahead = asked.AHEAD
    if limit == "size":
        ahead //= 2
        monkeypatch.setattr(asked, "AHEAD_SIZE", 4 * ahead)
    sock = await opened()
    queue(sock, numbered(1500))
    async with open_batch_sender(sock) as sender:
        receiver = AskedReceiver(sock, sender, 64)
        for handed_on in range(64, 800, 64):
            await receiver.receive()
            received = sock.statistics().datagrams_received
            assert ahead - 64 <= received - handed_on < ahead + 64
    await sock.aclose()


async def test_large_ones_are_not_held_by_the_hundred(monkeypatch):
    monkeypatch.setattr(asked, "AHEAD_SIZE", 64_000)
    sock = await opened()
    queue(sock, [bytes(1000)] * 640)
    handler = await served(sock, 640)
    for batches, received in enumerate(handler.received, 1):
        assert received <= (batches + 4) * 64
    assert len(handler.payloads) == 640


async def test_where_few_come_nothing_more_is_asked_for():
    sock = await opened()
    queue(sock, numbered(63))
    handler = await served(sock, 63)
    assert handler.calls[-1] <= 2


async def test_others_have_a_turn_between_batches():
    sock = await opened()
    queue(sock, numbered(640))
    turns = 0

    async def count():
        nonlocal turns
        while True:
            turns += 1
            await trio.lowlevel.checkpoint()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(count)
        await served(sock, 640)
        nursery.cancel_scope.cancel()
    assert turns >= 10


@needs_unix_sockets
async def test_one_that_is_cut_holds_up_nothing(tmp_path):
    names = [os.fspath(tmp_path / each) for each in "ab"]
    sock = await open_unix_datagram_socket(names[0])
    payloads = [b"x", bytes(70000), b"y", b"z", bytes(70000), b"w"]
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as plain:
        plain.bind(names[1])
        for payload in payloads:
            plain.sendto(payload, names[0])
    handler = await served(sock, 4, max_datagrams=1)
    assert handler.payloads == [b"x", b"y", b"z", b"w"]
    assert sock.statistics().truncated == 2


async def test_a_subclass_that_receives_in_its_own_way_is_asked():
    class Own(DatagramSocket):
        async def receive_batch(self, max_datagrams=64):
            batch = await super().receive_batch(max_datagrams)
            return [(payload[::-1], address) for payload, address in batch]

    plain = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    plain.bind(("127.0.0.1", 0))
    plain.setblocking(False)
    sock = Own(trio.socket.from_stdlib_socket(plain))
    queue(sock, [b"ab"] * 200)
    handler = await served(sock, 200)
    assert handler.payloads == [b"ba"] * 200


async def test_closing_it_ends_the_server_though_some_are_ahead():
    sock = await opened()
    queue(sock, numbered(640))

    async def close(datagrams, sender):
        await sock.aclose()

    with trio.fail_after(60), pytest.RaisesGroup(trio.ClosedResourceError):
        await serve_datagrams(close, [sock])
