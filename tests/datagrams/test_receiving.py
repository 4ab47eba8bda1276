"""How much is asked for, and what is asked."""

import array
import contextlib
import os
import socket

import pytest
import trio
from trio.testing import assert_checkpoints, wait_all_tasks_blocked

from triobatch._core import calls as syscalls
from triobatch._core.arena import SLOT_SIZE
from triobatch._datagrams.errors import TruncatedDatagramError
from triobatch._wire.metadata import SO_TIMESTAMPNS


def address_of(sock):
    return sock.socket.getsockname()


@pytest.fixture
def slots(monkeypatch):
    """Return the list of the slots offered, a call an item."""
    offered = []
    receive = syscalls.receive_datagrams

    def count(fd, arena, slots):
        offered.append(slots)
        return receive(fd, arena, slots)

    monkeypatch.setattr(syscalls, "receive_datagrams", count)
    return offered


async def test_a_batch_costs_one_call(make_socket, slots):
    receiver, sender = await make_socket(), await make_socket()
    await sender.send_batch(
        [(bytes(i), address_of(receiver)) for i in range(64)]
    )
    assert len(await receiver.receive_batch()) == 64
    assert slots == [64]


async def test_a_lone_datagram_costs_a_plain_receive(make_socket, slots):
    receiver, sender = await make_socket(), await make_socket()
    for _ in range(3):
        del slots[:]
        async with trio.open_nursery() as nursery:
            nursery.start_soon(receiver.receive_batch)
            await wait_all_tasks_blocked()
            await sender.send(b"lone", address_of(receiver))
    # One call that finds nothing, and after the wait the plain one.
    assert slots == [64, 1]


async def test_the_batch_grows_again_with_the_load(make_socket, slots):
    receiver, sender = await make_socket(), await make_socket()
    target = address_of(receiver)
    for size in (1, 1, 30, 30):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(receiver.receive_batch)
            await wait_all_tasks_blocked()
            await sender.send_batch([(bytes(i), target) for i in range(size)])
    await sender.send_batch([(bytes(i), target) for i in range(30)])
    assert len(await receiver.receive_batch()) == 60
    assert slots[-1] == 64


async def test_with_trains_as_many_slots_are_offered_as_are_needed(
    make_socket, slots
):
    receiver, sender = await make_socket(), await make_socket()
    for _ in range(3):
        await sender.send_many([bytes(1200)] * 64, address_of(receiver))
        with contextlib.suppress(trio.WouldBlock):
            while True:
                receiver.receive_batch_nowait()
    assert slots[0] == 64
    assert slots[-1] == 2


@pytest.mark.parametrize("count", [1, 100])
async def test_a_receiver_that_takes_one_gets_them_all(make_socket, count):
    receiver, sender = await make_socket(), await make_socket()
    await sender.send_many([b"x"] * count, address_of(receiver))
    for _ in range(count):
        with assert_checkpoints():
            assert await receiver.receive() == (b"x", address_of(sender))
    with pytest.raises(trio.WouldBlock):
        receiver.receive_nowait()
    assert receiver.statistics().datagrams_received == count


async def test_a_cancelled_receiver_loses_nothing(make_socket):
    receiver, sender = await make_socket(), await make_socket()
    await sender.send_many([b"x"] * 100, address_of(receiver))
    received = 0
    while received < 100:
        with trio.CancelScope() as scope:
            scope.cancel()
            await receiver.receive_batch(7)
        assert scope.cancelled_caught
        received += len(await receiver.receive_batch(7))
    assert received == 100


async def test_a_receiver_cancelled_while_it_is_woken_loses_nothing(
    make_socket,
):
    receiver, sender = await make_socket(), await make_socket()
    received = []
    with trio.CancelScope() as scope:
        async with trio.open_nursery() as nursery:

            @nursery.start_soon
            async def receive():
                received.extend(await receiver.receive_batch())

            await wait_all_tasks_blocked()
            sender.send_nowait(b"x", address_of(receiver))
            scope.cancel()
    if not received:
        received = receiver.receive_batch_nowait()
    assert [payload for payload, _ in received] == [b"x"]


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
