"""What is waited for while a batch is on its way, and how that ends."""

import errno
import socket

import pytest
import trio
from helpers import address_of, received

from triobatch._datagrams.errors import DatagramErrorGroup
from triobatch._queues.datagrams import Datagrams


@pytest.fixture
async def hosts(make_socket):
    return await make_socket(), await make_socket()


async def test_lasting_congestion_is_charged_and_the_rest_gets_one_try(
    hosts, play, autojump_clock
):
    sender, receiver = hosts
    script, _ = play(sender, ["ENOBUFS"] * 8)
    start = trio.current_time()
    with pytest.raises(DatagramErrorGroup) as info:
        await sender.send_batch(
            [(bytes(i), address_of(receiver)) for i in range(10)]
        )
    assert [error.index for error in info.value.exceptions] == [0, 1, 2]
    assert {error.errno for error in info.value.exceptions} == {errno.ENOBUFS}
    assert trio.current_time() - start == pytest.approx(0.031)
    assert script.left == []
    assert len(await received(receiver)) == 7


@pytest.mark.parametrize(
    ("stopped_by", "elapsed"), [("EAGAIN", 0), ("ENOBUFS", 0.020)]
)
async def test_what_stops_a_call_that_came_further_is_met_the_first_time(
    hosts, play, autojump_clock, stopped_by, elapsed
):
    sender, receiver = hosts
    script, _ = play(sender, [1, stopped_by] * 20)
    start = trio.current_time()
    await sender.send_batch(
        [(bytes(i), address_of(receiver)) for i in range(21)]
    )
    # Each pause is the first, and none follows a wake that brought something.
    assert trio.current_time() - start == pytest.approx(elapsed)
    assert script.left == []
    assert len(await received(receiver)) == 21


async def test_congestion_is_no_reason_to_wait_without_waiting(hosts, play):
    sender, receiver = hosts
    play(sender, ["ENOBUFS"])
    queue = Datagrams([(b"x", address_of(receiver))])
    with pytest.raises(trio.WouldBlock):
        sender.send_batch_nowait(queue)
    assert sender.send_batch_nowait(queue) == 1
    assert await received(receiver) == [b"x"]


@pytest.mark.parametrize("line", ["EAGAIN", "ENOBUFS"])
async def test_a_cancelled_wait_leaves_what_was_not_sent(hosts, play, line):
    sender, receiver = hosts
    for taken in range(1, 10):
        script, _ = play(sender, [taken] + [line] * 100)
        queue = Datagrams((bytes(i), address_of(receiver)) for i in range(10))
        with trio.CancelScope() as scope:
            if line == "ENOBUFS":
                scope.deadline = trio.current_time() + 0.001
                await sender.send_batch(queue)
            else:
                scope.cancel()
                with pytest.raises(trio.Cancelled):
                    await sender.send_batch(queue)
                assert len(queue) == 10
        script.left.clear()
        left = [payload for payload, _ in queue]
        assert await received(receiver) + left == [bytes(i) for i in range(10)]


async def test_every_point_of_a_batch_can_be_cancelled(datagram_pair):
    left, right = datagram_pair
    left.socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4608)
    payloads = [b"%d" % i for i in range(100)]
    queue = Datagrams((payload, None) for payload in payloads)
    arrived = []
    while queue:
        with trio.CancelScope() as scope:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(left.send_batch, queue)
                await trio.testing.wait_all_tasks_blocked()
                scope.cancel()
        arrived += await received(right)
        assert len(arrived) + len(queue) == len(payloads)
    assert arrived == payloads
