"""How much is asked for, and what is asked."""

import contextlib

import pytest
import trio
from helpers import address_of
from needs import needs_gro
from trio.testing import assert_checkpoints, wait_all_tasks_blocked


@pytest.fixture
def slots(around):
    """Return the list of the slots offered, a call an item."""
    offered = []

    def count(real, fd, arena, slots):
        offered.append(slots)
        return real(fd, arena, slots)

    around("receive_datagrams", count)
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


@needs_gro
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
