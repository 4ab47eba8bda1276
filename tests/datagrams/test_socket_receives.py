"""What a datagram socket offers to receive, and what it refuses."""

import array
import os
import socket

import pytest
import trio
from helpers import address_of
from trio.testing import assert_checkpoints, wait_all_tasks_blocked

from triobatch._core.arena import SLOT_SIZE
from triobatch._datagrams.errors import TruncatedDatagramError
from triobatch._wire.metadata import SO_TIMESTAMPNS


async def test_one_is_received_at_a_time(make_socket):
    receiver, sender = await make_socket(), await make_socket()
    await sender.send_many([b"%d" % i for i in range(5)], address_of(receiver))
    for i in range(5):
        assert receiver.receive_nowait() == (b"%d" % i, address_of(sender))
    with pytest.raises(trio.WouldBlock):
        receiver.receive_nowait()


@pytest.mark.parametrize(
    "method", ["receive", "receive_batch", "receive_messages"]
)
async def test_a_closed_socket_receives_nothing(datagram_pair, method):
    left, right = datagram_pair
    await left.send_many([b"x"] * 3)
    await right.aclose()
    with pytest.raises(trio.ClosedResourceError):
        getattr(right, f"{method}_nowait")()


async def test_a_truncated_datagram_is_told_apart(datagram_pair):
    left, right = datagram_pair
    left.socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 20)
    large = os.urandom(SLOT_SIZE + 1)
    await left.send_batch([(b"a", None), (large, None), (b"c", None)])
    with assert_checkpoints():
        assert await right.receive_batch() == [(b"a", None)]
    with assert_checkpoints(), pytest.raises(TruncatedDatagramError) as info:
        await right.receive_batch()
    assert info.value.payload == large[:SLOT_SIZE]
    assert info.value.size == SLOT_SIZE + 1
    with assert_checkpoints():
        assert await right.receive_batch() == [(b"c", None)]
    assert right.statistics().truncated == 1


async def test_a_datagram_of_exactly_a_slot_is_whole(datagram_pair):
    left, right = datagram_pair
    await left.send(bytes(SLOT_SIZE))
    assert await right.receive() == (bytes(SLOT_SIZE), None)


async def test_passed_file_descriptors_do_not_leak(datagram_pair):
    left, right = datagram_pair
    before = len(os.listdir("/proc/self/fd"))
    descriptors = array.array("i", [0])
    await left.socket.sendmsg(
        [b"x"], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, descriptors)]
    )
    assert await right.receive_messages()
    assert len(os.listdir("/proc/self/fd")) == before


@pytest.mark.parametrize("limit", [0, -1])
async def test_a_batch_of_none_is_a_value_error(make_socket, limit):
    sock = await make_socket()
    for method in (sock.receive_batch_nowait, sock.receive_messages_nowait):
        with pytest.raises(ValueError, match="must be at least 1, not"):
            method(limit)
    with pytest.raises(ValueError, match="must be at least 1, not"):
        await sock.receive_batch(limit)


@pytest.mark.parametrize(
    ("limit", "error"), [(0, ValueError), (1.5, TypeError)]
)
async def test_an_impossible_limit_changes_nothing(make_socket, limit, error):
    sock = await make_socket()
    for method in (sock.receive_batch, sock.receive_messages):
        with pytest.raises(error):
            await method(limit)
    for method in (sock.receive_batch_nowait, sock.receive_messages_nowait):
        with pytest.raises(error):
            method(limit)
    timestamps = sock.socket.getsockopt(socket.SOL_SOCKET, SO_TIMESTAMPNS)
    assert not timestamps


async def test_a_second_receiver_is_busy(make_socket):
    sock = await make_socket()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(sock.receive)
        await wait_all_tasks_blocked()
        for call in (sock.receive, sock.receive_batch, sock.receive_messages):
            with pytest.raises(trio.BusyResourceError):
                await call()
        with pytest.raises(trio.BusyResourceError):
            sock.receive_nowait()
        nursery.cancel_scope.cancel()
