"""What a peer, or another task, can do to a server: nothing."""

from __future__ import annotations

import socket
import struct
from functools import partial

import pytest
import trio
from helpers import address_of, no_spin, receive_all
from trio.testing import wait_all_tasks_blocked

from triobatch import (
    DatagramErrorGroup,
    Datagrams,
    open_batch_sender,
    open_udp_socket,
    serve_udp,
)

NOWHERE = ("127.0.0.1", 0)


async def answer_batch(datagrams, sender):
    await sender.send_batch(datagrams)


async def answer_queue(datagrams, sender):
    queue = Datagrams(datagrams)
    await sender.send_batch(queue)
    assert not queue


async def answer_each(datagrams, sender):
    for payload, address in datagrams:
        await sender.send(payload, address)


async def answer_now(datagrams, sender):
    for payload, address in datagrams:
        sender.send_nowait(payload, address)


ANSWERS = [answer_batch, answer_queue, answer_each, answer_now]


def from_port_0(port):
    """Send a datagram whose sender cannot be answered."""
    try:
        raw = socket.socket(
            socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_UDP
        )
    except PermissionError:
        pytest.skip("needs CAP_NET_RAW")
    with raw:
        header = struct.pack(">HHHH", 0, port, 8 + 4, 0)
        raw.sendto(header + b"evil", ("127.0.0.1", 0))


@pytest.mark.parametrize("handler", ANSWERS)
async def test_a_peer_that_cannot_be_answered_does_not_end_it(
    nursery, handler
):
    [sock] = await nursery.start(
        partial(serve_udp, handler, 0, host="127.0.0.1")
    )
    address = sock.socket.getsockname()
    async with await open_udp_socket(remote_address=address) as client:
        for _ in range(3):
            from_port_0(address[1])
            await client.send(b"hello")
            assert (await client.receive())[0] == b"hello"
    assert sock.statistics().refused == 3


@pytest.mark.parametrize("handler", ANSWERS)
@pytest.mark.parametrize(
    "peer", [NOWHERE, ("255.255.255.255", 9), ("::1", 9), None]
)
async def test_no_address_of_a_peer_ends_it(nursery, handler, peer):
    async def answer(datagrams, sender):
        await handler([(b"lost", peer), *datagrams], sender)

    [sock] = await nursery.start(
        partial(serve_udp, answer, 0, host="127.0.0.1")
    )
    async with await open_udp_socket(
        remote_address=sock.socket.getsockname()
    ) as client:
        for _ in range(2):
            await client.send(b"hello")
            assert (await client.receive())[0] == b"hello"
    assert sock.statistics().refused == 2


async def test_a_handler_may_ask_what_was_refused(nursery):
    told = []

    async def answer(datagrams, sender):
        try:
            await sender.send_batch([(b"x", NOWHERE)], errors="raise")
        except DatagramErrorGroup as group:
            told.extend(group.exceptions)
        await sender.send_batch(datagrams)

    [sock] = await nursery.start(
        partial(serve_udp, answer, 0, host="127.0.0.1")
    )
    async with await open_udp_socket(
        remote_address=sock.socket.getsockname()
    ) as client:
        await client.send(b"hello")
        await client.receive()
    assert len(told) == 1


async def test_its_socket_is_sent_on_beside_it(nursery):
    [sock] = await nursery.start(
        partial(serve_udp, answer_batch, 0, host="127.0.0.1")
    )
    async with await open_udp_socket(
        remote_address=sock.socket.getsockname()
    ) as client:
        me = client.socket.getsockname()
        for _ in range(50):
            await client.send(b"question")
            await sock.send(b"news", me)
            sock.send_nowait(b"now", me)
        got = await receive_all(client, 150)
    assert sorted(got) == [b"news"] * 50 + [b"now"] * 50 + [b"question"] * 50


@pytest.fixture
async def full(datagram_pair):
    """A socket whose peer has no room until it reads."""
    left, right = datagram_pair
    filled = 0
    with pytest.raises(trio.WouldBlock):
        while True:
            left.send_nowait(bytes(4000))
            filled += 1
    return left, right, filled


async def test_a_sender_waits_for_the_end_of_another_call(full):
    left, right, filled = full
    async with open_batch_sender(left) as sender, no_spin() as nursery:
        nursery.start_soon(left.send, b"first")
        await wait_all_tasks_blocked()
        nursery.start_soon(sender.send, b"second")
        await wait_all_tasks_blocked()
        # As without a sender: it is at fault that comes second.
        with pytest.raises(trio.BusyResourceError, match="another task"):
            await left.send(b"third")
        got = await receive_all(right, filled + 2)
        assert got[-2:] == [b"first", b"second"]


async def test_another_call_waits_for_the_end_of_a_batch(full):
    left, right, filled = full
    async with open_batch_sender(left) as sender, no_spin() as nursery:
        nursery.start_soon(sender.send, b"first")
        await wait_all_tasks_blocked()
        with pytest.raises(trio.WouldBlock):
            left.send_nowait(b"now")
        nursery.start_soon(left.send, b"second")
        await wait_all_tasks_blocked()
        got = await receive_all(right, filled + 2)
        assert got[-2:] == [b"first", b"second"]


async def test_a_cancelled_call_leaves_the_turn_to_the_sender(full):
    left, right, filled = full
    async with open_batch_sender(left) as sender:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(sender.send, b"first")
            await wait_all_tasks_blocked()
            nursery.start_soon(left.send, b"never")
            await wait_all_tasks_blocked()
            nursery.cancel_scope.cancel()
        assert len(await receive_all(right, filled)) == filled
        await sender.send(b"second")
        await left.send(b"third")
        assert await receive_all(right, 2) == [b"second", b"third"]


async def test_a_target_that_is_sent_on_is_busy_at_once(full):
    left, _, _ = full
    async with trio.open_nursery() as nursery:
        nursery.start_soon(left.send, b"waits")
        await wait_all_tasks_blocked()
        with pytest.raises(trio.BusyResourceError, match="another task is"):
            async with open_batch_sender(left):
                pytest.fail("it was let in")
        nursery.cancel_scope.cancel()


async def test_a_second_batch_sender_is_refused_at_once(make_socket):
    sock = await make_socket()
    async with open_batch_sender(sock) as first:
        with pytest.raises(
            trio.BusyResourceError, match="another batch sender is sending"
        ):
            async with open_batch_sender(sock):
                pytest.fail("it was let in")
        await first.send(b"x", address_of(sock))
    async with open_batch_sender(sock) as second:
        await second.send(b"x", address_of(sock))
