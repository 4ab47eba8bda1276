"""What many tasks call: queueing, waiting for room, flushing."""

from __future__ import annotations

import array

import pytest
import trio
from helpers import discard, exports_lock, receive_exactly, receive_to_end
from trio.testing import assert_checkpoints, wait_all_tasks_blocked

import triobatch
from triobatch import Buffers, open_batch_sender


async def test_a_send_on_an_idle_sender_is_a_checkpoint(pair):
    left, right = pair
    async with open_batch_sender(left) as sender:
        for data in (b"bytes", b"", bytearray(b"mutable"), Buffers([b"a"])):
            await wait_all_tasks_blocked()
            with assert_checkpoints():
                await sender.send(data)
        with assert_checkpoints():
            await sender.flush()
        with assert_checkpoints():
            await sender.flush()
    assert await receive_exactly(right, 13) == b"bytesmutablea"


async def test_a_lone_message_leaves_in_one_trip_through_the_scheduler(pair):
    left, _right = pair
    async with open_batch_sender(left) as sender:
        await wait_all_tasks_blocked()
        for count in range(1, 20):
            await sender.send(b"x" * 10)
            # Trio runs the tasks that are ready in any order, once each.
            await trio.lowlevel.cancel_shielded_checkpoint()
            assert left.statistics().bytes_sent == 10 * count
            await wait_all_tasks_blocked()


async def test_what_a_task_queues_without_yielding_leaves_in_one_call(pair):
    left, right = pair
    async with open_batch_sender(left) as sender:
        for _ in range(50):
            sender.send_nowait(b"x")
        await sender.flush()
        done = sender.statistics()
    assert (done.messages, done.batches, done.send_calls) == (50, 1, 1)
    assert await receive_exactly(right, 50) == b"x" * 50


async def test_messages_of_many_tasks_leave_in_the_order_of_the_calls(pair):
    left, right = pair
    called = []

    async def send(sender, number):
        for turn in range(10):
            message = b"<%d:%d>" % (number, turn)
            called.append(message)
            await sender.send(message)

    async with (
        open_batch_sender(left) as sender,
        trio.open_nursery() as nursery,
    ):
        for number in range(50):
            nursery.start_soon(send, sender, number)
    expected = b"".join(called)
    assert await receive_exactly(right, len(expected)) == expected


async def test_a_message_of_many_chunks_is_contiguous(pair):
    left, right = pair
    message = Buffers([b"head", b"x" * 50_000, b"tail"])
    async with open_batch_sender(left) as sender:
        sender.send_nowait(b"before")
        await sender.send(message)
        sender.send_nowait(b"after")
        assert not message
        sender.send_nowait(message)
    received = await receive_exactly(right, 50_019)
    assert received == b"beforehead" + b"x" * 50_000 + b"tailafter"


async def test_a_mutable_message_can_be_used_again_at_once(clogged_pair):
    left, right = clogged_pair
    data = bytearray(b"first ")
    async with open_batch_sender(left) as sender:
        await sender.send(data)
        data[:] = b"second"
        data += b"!"
        await sender.send(memoryview(data))
        await sender.send(array.array("I", [0x21212121]))
        async with trio.open_nursery() as nursery:

            @nursery.start_soon
            async def flush():
                await sender.flush()
                await left.send_eof()

            received = await receive_to_end(right)
    assert received.lstrip(b"x") == b"first second!!!!!"


@exports_lock
async def test_a_chunk_of_a_buffers_is_exported_until_it_is_sent(pair, clog):
    left, right = pair
    await clog(left)
    chunk = bytearray(b"x" * 100)
    message = Buffers([chunk])
    async with open_batch_sender(left) as sender:
        await sender.send(message)
        await wait_all_tasks_blocked()
        with pytest.raises(BufferError):
            chunk += b"!"
        async with trio.open_nursery() as nursery:
            nursery.start_soon(discard, right)
            await sender.flush()
            nursery.cancel_scope.cancel()
        chunk += b"!"


@pytest.mark.parametrize("data", ["text", 3, None, [b"chunk"]])
async def test_what_is_no_message_is_refused_before_anything(pair, data):
    left, _right = pair
    async with open_batch_sender(left) as sender:
        with trio.CancelScope() as scope:
            scope.cancel()
            # No checkpoint comes first: this is not Cancelled.
            with pytest.raises(TypeError):
                await sender.send(data)
        with pytest.raises(TypeError):
            sender.send_nowait(data)
        assert sender.statistics().buffered_size == 0


async def test_a_message_that_is_not_contiguous_is_refused(pair):
    left, _right = pair
    async with open_batch_sender(left) as sender:
        with pytest.raises(BufferError):
            sender.send_nowait(memoryview(b"abcdef")[::2])


async def test_a_buffers_that_is_being_sent_is_refused(pair, clogged_pair):
    busy, _ = clogged_pair
    left, _right = pair
    message = Buffers([b"x" * 100])
    async with trio.open_nursery() as nursery:
        nursery.start_soon(busy.send_buffers, message)
        await wait_all_tasks_blocked()
        async with open_batch_sender(left) as sender:
            with pytest.raises(trio.BusyResourceError):
                sender.send_nowait(message)
            with pytest.raises(trio.BusyResourceError):
                await sender.send(message)
        nursery.cancel_scope.cancel()
    assert message.nbytes == 100


async def test_send_nowait_says_when_there_is_no_room(clogged_pair):
    left, right = clogged_pair
    async with open_batch_sender(left, max_buffered=10, grace=0) as sender:
        message = Buffers([b"y" * 5])
        sender.send_nowait(b"x" * 11)
        for data in (b"y", bytearray(b"y"), message):
            with pytest.raises(trio.WouldBlock):
                sender.send_nowait(data)
        assert message.nbytes == 5
        async with trio.open_nursery() as nursery:
            nursery.start_soon(discard, right)
            await sender.flush()
            nursery.cancel_scope.cancel()
        sender.send_nowait(message)
        assert not message


@pytest.mark.parametrize("gathered", [False, True])
async def test_those_who_wait_for_room_send_in_order(clogged_pair, gathered):
    left, right = clogged_pair
    async with (
        open_batch_sender(left, max_buffered=0) as sender,
        trio.open_nursery() as nursery,
    ):
        for number in range(20):
            message = b"%02d;" % number
            nursery.start_soon(
                sender.send, Buffers([message]) if gathered else message
            )
            await trio.lowlevel.checkpoint()
            if number == 0:
                await wait_all_tasks_blocked()
        await wait_all_tasks_blocked()
        assert sender.statistics().waiting == 19
        # Nobody overtakes them.
        with pytest.raises(trio.WouldBlock):
            sender.send_nowait(b"!")
        received = b""
        while b"19;" not in received:
            received = (received + await right.receive_some())[-100:]
    assert received.endswith(b"".join(b"%02d;" % n for n in range(20)))


@pytest.mark.parametrize("gathered", [False, True])
async def test_a_send_cancelled_while_it_waits_is_withdrawn(
    clogged_pair, gathered
):
    left, right = clogged_pair
    cancelled = (
        Buffers([bytearray(b"cancelled")]) if gathered else b"cancelled"
    )
    async with open_batch_sender(left, max_buffered=0) as sender:
        await sender.send(b"first ")
        async with trio.open_nursery() as nursery:
            scope = trio.CancelScope()

            async def send():
                with scope:
                    await sender.send(cancelled)

            nursery.start_soon(send)
            await wait_all_tasks_blocked()
            nursery.start_soon(sender.send, b"last")
            await wait_all_tasks_blocked()
            scope.cancel()
            await wait_all_tasks_blocked()
            assert scope.cancelled_caught
            if gathered:
                assert bytes(cancelled) == b"cancelled"
                cancelled.append(b"!")
            received = b""
            while not received.endswith(b"last"):
                received = (received + await right.receive_some())[-100:]
    assert received.endswith(b"xfirst last")


async def test_a_buffers_that_waits_for_room_is_consumed_with_it(
    clogged_pair,
):
    left, right = clogged_pair
    message = Buffers([b"sec", b"ond"])
    async with open_batch_sender(left, max_buffered=0) as sender:
        await sender.send(b"first ")
        async with trio.open_nursery() as nursery:
            nursery.start_soon(sender.send, message)
            await wait_all_tasks_blocked()
            assert bytes(message) == b"second"
            received = b""
            while not received.endswith(b"second"):
                received = (received + await right.receive_some())[-100:]
    assert not message


async def test_a_send_in_a_cancelled_scope_queues_nothing(pair):
    left, _right = pair
    message = Buffers([b"x"])
    async with open_batch_sender(left) as sender:
        for data in (b"x", message):
            with trio.CancelScope() as scope:
                scope.cancel()
                await sender.send(data)
            assert scope.cancelled_caught
        assert sender.statistics().buffered_size == 0
    assert message.nbytes == 1


async def test_a_flush_waits_for_the_kernel(clogged_pair):
    left, right = clogged_pair
    flushed = False
    async with open_batch_sender(left) as sender:

        async def flush():
            nonlocal flushed
            await sender.flush()
            flushed = True

        async with trio.open_nursery() as nursery:
            await sender.send(b"x" * 100)
            nursery.start_soon(flush)
            await wait_all_tasks_blocked()
            assert not flushed
            assert sender.statistics().buffered_size == 100
            nursery.start_soon(discard, right)
            await sender.flush()
            assert sender.statistics().buffered_size == 0
            await wait_all_tasks_blocked()
            assert flushed
            nursery.cancel_scope.cancel()


async def test_a_cancelled_flush_cancels_nothing_else(clogged_pair):
    left, right = clogged_pair
    async with open_batch_sender(left) as sender:
        await sender.send(b"kept")
        with trio.move_on_after(0.01) as scope:
            await sender.flush()
        assert scope.cancelled_caught
        async with trio.open_nursery() as nursery:
            nursery.start_soon(sender.flush)
            received = b""
            while not received.endswith(b"kept"):
                received = (received + await right.receive_some())[-100:]


async def test_statistics_tell_what_was_done(clogged_pair):
    left, right = clogged_pair
    before = left.statistics().send_calls
    async with open_batch_sender(left, max_buffered=4) as sender:
        assert sender.statistics() == triobatch.SenderStatistics(
            0, 0, 0, 0, 0, 0, 0, 0.0
        )
        async with trio.open_nursery() as nursery:
            await sender.send(b"12345")
            nursery.start_soon(sender.send, b"67")
            await wait_all_tasks_blocked()
            queued = sender.statistics()
            assert (queued.buffered_size, queued.waiting) == (5, 1)
            nursery.start_soon(discard, right)
            await sender.flush()
            nursery.cancel_scope.cancel()
        await sender.flush()
        done = sender.statistics()
    assert (done.buffered_size, done.peak_size, done.waiting) == (0, 5, 0)
    assert (done.messages, done.batches) == (2, 2)
    assert done.send_calls == left.statistics().send_calls - before
    assert done.longest_wait > 0


async def test_the_system_calls_of_other_streams_are_unknown():
    left, _right = trio.testing.memory_stream_pair()
    async with open_batch_sender(left) as sender:
        await sender.send(b"x")
        assert sender.statistics().send_calls is None


async def test_sending_in_vain_lets_others_run(pair):
    async with open_batch_sender(pair[0]) as sender:
        pass
    turns = 0

    async def take_turns():
        nonlocal turns
        while True:
            await trio.lowlevel.checkpoint()
            turns += 1

    async with trio.open_nursery() as nursery:
        nursery.start_soon(take_turns)
        for _ in range(20):
            with pytest.raises(trio.ClosedResourceError):
                await sender.send(b"late")
        nursery.cancel_scope.cancel()
    # It starts a turn late, and may be the last to be asked.
    assert turns >= 15


class Named(Buffers):
    """A queue that is made in a way of its own."""

    def __init__(self, name):
        super().__init__([name])
        self.append(bytearray(b", and more"))


@pytest.mark.parametrize("name", ["send", "send_nowait"])
async def test_a_buffers_of_a_kind_of_its_own_is_sent(pair, name):
    left, right = pair
    message = Named(b"named")
    async with open_batch_sender(left) as sender:
        if name == "send":
            await sender.send(message)
        else:
            sender.send_nowait(message)
        assert not message
    assert await right.receive_some() == b"named, and more"
