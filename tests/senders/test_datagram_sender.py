"""Datagrams of many tasks on one socket, each of which learns its outcome."""

from __future__ import annotations

import errno
import functools

import helpers
import pytest
import trio
from helpers import exports_lock
from trio.testing import assert_checkpoints, wait_all_tasks_blocked

from triobatch import Buffers, DatagramError, open_batch_sender

receive_all = functools.partial(helpers.receive_all, besides=b"filling")


async def test_every_call_is_a_checkpoint(udp_pair):
    left, right, address = udp_pair
    async with open_batch_sender(left) as sender:
        for data in (b"bytes", b"", bytearray(b"mutable"), Buffers([b"a"])):
            with assert_checkpoints():
                await sender.send(data, address)
        with assert_checkpoints():
            await sender.flush()
    assert await receive_all(right, 4) == [b"bytes", b"", b"mutable", b"a"]


async def test_a_thousand_tasks_send_in_few_batches(udp_pair):
    left, right, address = udp_pair
    right.socket.setsockopt(
        trio.socket.SOL_SOCKET, trio.socket.SO_RCVBUF, 2**22
    )
    async with open_batch_sender(left) as sender:
        async with trio.open_nursery() as nursery:
            for number in range(200):
                nursery.start_soon(sender.send, b"%d" % number, address)
        done = sender.statistics()
        assert (done.messages, done.waiting, done.buffered_size) == (200, 0, 0)
        assert done.messages / done.batches > 50
        assert done.send_calls <= 10
    received = await receive_all(right, 200)
    assert sorted(received) == sorted(b"%d" % n for n in range(200))


async def test_a_buffers_is_one_datagram_and_is_consumed(udp_pair):
    left, right, address = udp_pair
    message = Buffers([b"one ", bytearray(b"two")])
    async with open_batch_sender(left) as sender:
        await sender.send(message, address)
        assert not message
        message.extend([b"a", b"b"])
        sender.send_nowait(message, address)
        assert not message
    assert await receive_all(right, 2) == [b"one two", b"ab"]


async def test_each_learns_its_own_outcome(udp_pair):
    left, right, address = udp_pair
    outcomes = {}

    async def send(sender, number):
        # Every third is larger than a datagram can be.
        data = b"x" * 70_000 if number % 3 == 0 else b"%d" % number
        try:
            await sender.send(data, address)
        except DatagramError as error:
            outcomes[number] = error.errno, error.address
        else:
            outcomes[number] = None

    async with open_batch_sender(left) as sender:
        async with trio.open_nursery() as nursery:
            for number in range(9):
                nursery.start_soon(send, sender, number)
        done = sender.statistics()
    assert outcomes == {
        number: (errno.EMSGSIZE, address) if number % 3 == 0 else None
        for number in range(9)
    }
    assert (done.messages, done.refused, done.buffered_size) == (6, 3, 0)
    assert len(await receive_all(right, 6)) == 6


async def test_each_is_told_as_soon_as_the_kernel_has_its_own(stuck_pair):
    left, right = stuck_pair
    told = []

    async def send(sender, number):
        await sender.send(b"%d" % number)
        told.append(number)

    async with (
        open_batch_sender(left) as sender,
        trio.open_nursery() as nursery,
    ):
        for number in range(1000):
            nursery.start_soon(send, sender, number)
        await wait_all_tasks_blocked()
        assert told == []
        while not told:
            await right.receive()
            await wait_all_tasks_blocked()
        # The rest of the batch is still waiting.
        assert sender.statistics().waiting == 1000 - len(told) > 0
        assert sender.statistics().messages == len(told)
        await receive_all(right, 1000)


async def test_a_refused_buffers_is_left_as_it_was(udp_pair):
    left, _right, address = udp_pair
    message = Buffers([b"x" * 40_000, b"x" * 40_000])
    async with open_batch_sender(left) as sender:
        with pytest.raises(DatagramError):
            await sender.send(message, address)
    assert message.nbytes == 80_000


async def test_what_send_nowait_queues_leaves_in_one_batch(udp_pair):
    left, right, address = udp_pair
    async with open_batch_sender(left) as sender:
        for number in range(20):
            sender.send_nowait(b"%02d" % number, address)
        sender.send_nowait(b"x" * 70_000, address)
        await sender.flush()
        done = sender.statistics()
    assert (done.messages, done.refused, done.batches) == (20, 1, 1)
    assert await receive_all(right, 20) == [b"%02d" % n for n in range(20)]


async def test_send_nowait_says_when_there_is_no_room(stuck_pair):
    left, right = stuck_pair
    async with open_batch_sender(left, max_buffered=1000) as sender:
        message = Buffers([b"kept"])
        with pytest.raises(trio.WouldBlock):
            while True:
                sender.send_nowait(b"")
        with pytest.raises(trio.WouldBlock):
            sender.send_nowait(message)
        assert message.nbytes == 4
        count = sender._task.outbox.count
        # Those without bytes are not let in without end.
        assert count == 1000 // 64 + 1
        async with trio.open_nursery() as nursery:
            nursery.start_soon(sender.flush)
            assert await receive_all(right, count) == [b""] * count


@exports_lock
async def test_a_mutable_payload_is_exported_until_it_is_sent(stuck_pair):
    left, right = stuck_pair
    payload = bytearray(b"mutable")
    async with open_batch_sender(left) as sender:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(sender.send, payload)
            await wait_all_tasks_blocked()
            with pytest.raises(BufferError):
                payload += b"!"
            assert await receive_all(right, 1) == [b"mutable"]
        payload += b"!"
        # A copy was queued of this one.
        sender.send_nowait(payload)
        payload[:] = b"another"
        payload += b"!"
    assert await receive_all(right, 1) == [b"mutable!"]


@pytest.mark.parametrize(
    ("data", "address", "error"),
    [
        ("text", None, TypeError),
        (3, None, TypeError),
        (memoryview(b"abcdef")[::2], None, BufferError),
        (b"x", 3, TypeError),
        (b"x", ("127.0.0.1", "53"), TypeError),
        (b"x", ("127.0.0.1", 65536), ValueError),
    ],
)
async def test_what_is_impossible_is_refused_before_anything(
    udp_pair, data, address, error
):
    left, _right, _ = udp_pair
    async with open_batch_sender(left) as sender:
        with trio.CancelScope() as scope:
            scope.cancel()
            with pytest.raises(error):
                await sender.send(data, address)
        with pytest.raises(error):
            sender.send_nowait(data, address)
        assert sender.statistics().buffered_size == 0


async def test_a_cancelled_send_in_a_cork_queues_nothing(udp_pair):
    left, _right, address = udp_pair
    async with open_batch_sender(left) as sender:
        with sender.corked(), trio.CancelScope() as scope:
            scope.cancel()
            await sender.send(b"x", address)
        assert scope.cancelled_caught
        assert sender.statistics().messages == 0
        assert sender.statistics().buffered_size == 0
