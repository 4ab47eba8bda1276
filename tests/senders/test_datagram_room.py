"""Datagrams that are only queued: who waits for room, and for nothing else."""

from __future__ import annotations

import functools

import helpers
import pytest
import trio
from needs import needs_own_room, needs_unix_sockets
from trio.testing import assert_checkpoints, wait_all_tasks_blocked

from triobatch import Buffers, DatagramSocket, open_batch_sender
from triobatch._senders.datagram_outbox import DatagramOutbox, QueuedDatagram
from triobatch._senders.datagram_room import Room

receive_all = functools.partial(helpers.receive_all, besides=b"filling")


class BodyError(Exception):
    """What a body raises."""


@pytest.fixture
def outbox():
    return DatagramOutbox(lambda: 0.0, str.encode)


def datagram(payload):
    return QueuedDatagram(payload, "a")


def settle(outbox):
    """Let all that is queued be sent."""
    outbox.sent([one.tag for one in outbox.take()])


@pytest.mark.parametrize(
    ("max_buffered", "size", "count"),
    [
        (0, 100, 1),
        # Each counts for 64 bytes more than it has.
        (163, 100, 1),
        (164, 100, 2),
        (327, 100, 2),
        (328, 100, 3),
        (640, 0, 11),
    ],
)
def test_one_is_let_in_while_no_more_than_the_limit_is_buffered(
    outbox, max_buffered, size, count
):
    room = Room(max_buffered, outbox)
    while room.put(datagram(bytes(size))):
        pass
    assert outbox.count == count
    settle(outbox)
    assert room.put(datagram(b""))


def test_nobody_overtakes_who_waits_for_room(outbox):
    room = Room(100, outbox)
    room.put(datagram(bytes(200)))
    for token in ("first", "second", "third"):
        room.put_later(token, datagram(token.encode() * 20))
    assert room.let_in() == []
    settle(outbox)
    assert not room.put(datagram(b"overtaking"))
    assert room.let_in() == ["first"]
    assert not room.put(datagram(b"overtaking"))
    assert (room.waiting, outbox.count) == (2, 1)


def test_who_withdraws_gives_way(outbox):
    room = Room(0, outbox)
    room.put(datagram(b""))
    room.put_later("first", datagram(b"1"))
    room.put_later("second", datagram(b"2"))
    assert room.withdraw("first")
    settle(outbox)
    assert room.let_in() == ["second"]
    assert not room.withdraw("second")


def test_who_waits_when_it_is_closed_does_so_in_vain(outbox):
    room = Room(0, outbox)
    room.put(datagram(b""))
    room.put_later("late", datagram(b"late"))
    outbox.close()
    assert room.close() == ["late"]
    assert room.close() == []
    settle(outbox)
    assert room.let_in() == []
    assert not room.put(datagram(b"later"))
    assert room.withdraw("late")
    assert not room.withdraw("late")


@pytest.mark.parametrize(
    "data", [b"bytes", b"", bytearray(b"mutable"), memoryview(b"view")]
)
async def test_queue_is_a_checkpoint_and_does_not_wait(stuck_pair, data):
    left, right = stuck_pair
    async with open_batch_sender(left) as sender:
        with assert_checkpoints():
            await sender.queue(data)
        assert sender.statistics().messages == 0
        if isinstance(data, bytearray):
            data[:] = b"changed"
            expected = b"mutable"
        else:
            expected = bytes(data)
        assert await receive_all(right, 1) == [expected]


async def test_a_loop_is_sent_in_few_batches(udp_pair):
    left, right, address = udp_pair
    async with open_batch_sender(left) as sender:
        for number in range(120):
            await sender.queue(b"%03d" % number, address)
        await sender.flush()
        done = sender.statistics()
    assert done.messages == 120
    assert done.batches < 10
    assert await receive_all(right, 120) == [b"%03d" % n for n in range(120)]


async def test_a_lone_one_leaves_by_itself(udp_pair):
    left, right, address = udp_pair
    async with open_batch_sender(left) as sender:
        await sender.queue(b"lone", address)
        assert await receive_all(right, 1) == [b"lone"]


async def test_one_whose_outcome_is_waited_for_does_not_wait_for_more(
    udp_pair,
):
    left, _right, address = udp_pair

    async def queue_for_ever(sender):
        while True:
            await sender.queue(b"queued", address)

    async with (
        open_batch_sender(left) as sender,
        trio.open_nursery() as nursery,
    ):
        nursery.start_soon(queue_for_ever, sender)
        await sender.send(b"sent", address)
        assert sender.statistics().messages < 20
        nursery.cancel_scope.cancel()


async def test_room_is_waited_for_in_the_order_of_the_calls(stuck_pair):
    left, right = stuck_pair
    async with (
        open_batch_sender(left, max_buffered=0) as sender,
        trio.open_nursery() as nursery,
    ):
        await sender.queue(b"0")
        for number in range(1, 6):
            nursery.start_soon(sender.queue, b"%d" % number)
            await wait_all_tasks_blocked()
        assert sender.statistics().waiting == 5
        with pytest.raises(trio.WouldBlock):
            sender.send_nowait(b"overtaking")
        assert await receive_all(right, 6) == [b"%d" % n for n in range(6)]
    assert sender.statistics().waiting == 0


async def test_what_is_cancelled_in_the_wait_is_not_queued(stuck_pair):
    left, right = stuck_pair
    message = Buffers([b"can", b"celled"])
    async with open_batch_sender(left, max_buffered=0) as sender:
        await sender.queue(b"first")
        async with trio.open_nursery() as nursery:
            nursery.start_soon(sender.queue, message)
            await wait_all_tasks_blocked()
            with pytest.raises(trio.BusyResourceError):
                await sender.queue(message)
            nursery.cancel_scope.cancel()
        assert message.nbytes == 9
        with trio.CancelScope() as scope:
            scope.cancel()
            await sender.queue(b"cancelled before")
        assert await receive_all(right, 1) == [b"first"]
        await sender.queue(message)
        assert not message
        assert await receive_all(right, 1) == [b"cancelled"]


async def test_what_a_withdrawn_datagram_leaves_is_room(stuck_pair):
    left, right = stuck_pair
    async with (
        open_batch_sender(left, max_buffered=100) as sender,
        trio.open_nursery() as nursery,
    ):
        scope = trio.CancelScope()

        async def send():
            with scope:
                await sender.send(bytes(200))

        nursery.start_soon(send)
        await wait_all_tasks_blocked()
        nursery.start_soon(sender.queue, b"waits")
        await wait_all_tasks_blocked()
        assert sender.statistics().waiting == 2
        scope.cancel()
        await wait_all_tasks_blocked()
        assert sender.statistics().waiting == 0
        assert await receive_all(right, 1) == [b"waits"]


@needs_unix_sockets
@needs_own_room
async def test_a_lane_that_was_withdrawn_leaves_room_too(tmp_path):
    # The sending task sleeps then: all that it has is held up.
    with (
        trio.socket.socket(
            trio.socket.AF_UNIX, trio.socket.SOCK_DGRAM
        ) as left,
        trio.socket.socket(
            trio.socket.AF_UNIX, trio.socket.SOCK_DGRAM
        ) as stuck,
        trio.socket.socket(
            trio.socket.AF_UNIX, trio.socket.SOCK_DGRAM
        ) as free,
    ):
        addresses = [str(tmp_path / name) for name in ("stuck", "free")]
        await stuck.bind(addresses[0])
        await free.bind(addresses[1])
        target = DatagramSocket(left)
        with pytest.raises(trio.WouldBlock):
            while True:
                target.send_nowait(b"filling", addresses[0])
        async with (
            open_batch_sender(target, max_buffered=200) as sender,
            trio.open_nursery() as nursery,
        ):
            nursery.start_soon(sender.send, b"held up", addresses[0])
            with trio.CancelScope() as scope:
                async with trio.open_nursery() as inner:
                    inner.start_soon(sender.send, bytes(200), addresses[0])
                    await wait_all_tasks_blocked()
                    nursery.start_soon(sender.queue, b"free", addresses[1])
                    await wait_all_tasks_blocked()
                    assert sender.statistics().waiting == 3
                    scope.cancel()
            # Not when the stuck one is looked at again.
            await wait_all_tasks_blocked()
            assert sender.statistics().messages == 1
            assert await free.recv(100) == b"free"
            nursery.cancel_scope.cancel()


async def test_refused_ones_are_counted(udp_pair):
    left, right, address = udp_pair
    async with open_batch_sender(left) as sender:
        await sender.queue(bytes(70_000), address)
        await sender.queue(b"fine", address)
    done = sender.statistics()
    assert (done.messages, done.refused) == (1, 1)
    assert await receive_all(right, 1) == [b"fine"]


@pytest.mark.parametrize(
    ("data", "address", "error"),
    [
        ("text", None, TypeError),
        (memoryview(b"abcdef")[::2], None, BufferError),
        (b"x", 3, TypeError),
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
                await sender.queue(data, address)
        assert sender.statistics().buffered_size == 0


@pytest.mark.parametrize("end", ["normally", "by an error", "by closing"])
async def test_who_waits_for_room_is_told_of_the_end(stuck_pair, end):
    left, right = stuck_pair
    told = []

    async def queue(sender):
        with pytest.raises(trio.ClosedResourceError):
            await sender.queue(b"in vain")
        told.append(True)

    async def receive():
        await wait_all_tasks_blocked()
        # At once, and not when all the rest was sent.
        assert told == [True]
        await receive_all(right, 1)

    async with trio.open_nursery() as nursery:
        try:
            async with open_batch_sender(left, max_buffered=0) as sender:
                await sender.queue(b"queued")
                nursery.start_soon(queue, sender)
                await wait_all_tasks_blocked()
                if end == "by an error":
                    raise BodyError
                if end == "by closing":
                    await left.aclose()
                else:
                    nursery.start_soon(receive)
        except BodyError:
            assert end == "by an error"
        except trio.ClosedResourceError:
            assert end == "by closing"
    assert told == [True]
    assert sender.statistics().waiting == 0
    left_over = [] if end == "normally" else [(b"queued", None)]
    assert sender.unsent == left_over
    with pytest.raises(trio.ClosedResourceError), assert_checkpoints():
        await sender.queue(b"late")
