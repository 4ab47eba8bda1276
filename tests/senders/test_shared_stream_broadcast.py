"""A broadcast on shared streams: past a sending task that is idle."""

from __future__ import annotations

import contextlib

import pytest
import trio
from helpers import discard, receive_exactly, receive_to_end
from trio.testing import assert_checkpoints, wait_all_tasks_blocked

import triobatch
from triobatch import SharedStream, open_shared_stream

LARGE = b"L" * 20_000_000


class Steps(trio.abc.Instrument):
    """Counts the steps of tasks by what they run."""

    def __init__(self):
        self.sending = 0

    def before_task_step(self, task):
        self.sending += "StreamSendingTask" in task.name


@pytest.fixture
async def shared(pair):
    async with open_shared_stream(pair[0], grace=0) as shared:
        await wait_all_tasks_blocked()
        yield shared


def statuses(result):
    return [delivery.status for delivery in result]


async def broadcast(shared, data):
    with assert_checkpoints():
        result = await triobatch.broadcast([shared], data)
    assert [one.sent for one in result] == [len(data)]
    assert statuses(result) == ["queued"]


async def test_it_has_left_when_the_call_returns(pair, shared):
    steps = Steps()
    trio.lowlevel.add_instrument(steps)
    await broadcast(shared, b"message")
    trio.lowlevel.remove_instrument(steps)
    assert steps.sending == 0
    done = shared.sender.statistics()
    assert (done.messages, done.batches, done.buffered_size) == (1, 1, 0)
    assert (done.send_calls, done.peak_size) == (1, 7)
    assert await receive_exactly(pair[1], 7) == b"message"


async def test_an_empty_message_is_none(shared):
    await broadcast(shared, b"")
    assert shared.sender.statistics().messages == 0
    assert shared.sender.statistics().send_calls == 0


async def test_what_is_queued_goes_first(pair, shared):
    shared.queue_nowait(b"first ")
    await broadcast(shared, b"second ")
    with shared.sender.corked():
        await shared.send_all(b"third ")
        await broadcast(shared, b"fourth ")
        await wait_all_tasks_blocked()
    await shared.sender.flush()
    with shared.sender.corked():
        # Nothing is queued, and yet it is held back.
        calls = shared.sender.statistics().send_calls
        await broadcast(shared, b"fifth")
        await wait_all_tasks_blocked()
        assert shared.sender.statistics().send_calls == calls
    expected = b"first second third fourth fifth"
    assert await receive_exactly(pair[1], len(expected)) == expected


async def test_broadcasts_that_never_wait_are_gathered(pair, shared):
    for _ in range(10):
        triobatch.broadcast_nowait([shared], b"0123456789")
    await shared.sender.flush()
    assert shared.sender.statistics().send_calls == 1


async def test_what_the_kernel_does_not_take_follows_and_holds_up_nobody(
    pair, shared
):
    await broadcast(shared, LARGE)
    done = shared.sender.statistics()
    assert (done.buffered_size, done.messages) == (len(LARGE), 0)
    result = await triobatch.broadcast([shared], b"full")
    assert statuses(result) == ["full"]
    async with trio.open_nursery() as nursery:
        nursery.start_soon(shared.sender.flush)
        await wait_all_tasks_blocked()
        assert len(nursery.child_tasks) == 1
        rest = await receive_exactly(pair[1], len(LARGE))
    assert rest == LARGE
    await broadcast(shared, b"behind")
    assert await receive_exactly(pair[1], 6) == b"behind"


async def test_a_cork_does_not_hold_back_a_message_that_is_part_way_out(
    pair, shared
):
    await broadcast(shared, LARGE)
    with shared.sender.corked():
        assert await receive_exactly(pair[1], len(LARGE)) == LARGE


@pytest.mark.parametrize("at_once", [False, True])
async def test_the_account_is_exact_when_it_is_cut_short(pair, at_once):
    left, right = pair
    async with open_shared_stream(left, grace=0, max_buffered=2**30) as shared:
        await wait_all_tasks_blocked()
        await broadcast(shared, LARGE)
        shared.queue_nowait(b"not begun")
        if not at_once:
            await wait_all_tasks_blocked()
        await trio.aclose_forcefully(shared)
    sender = shared.sender
    received = await receive_to_end(right)
    assert 0 < len(received) < len(LARGE)
    assert received + sender.unfinished == LARGE
    assert (sender.unsent, sender.uncertain) == ([b"not begun"], [])


async def test_of_a_stream_that_is_full_nothing_was_begun(clogged_pair):
    left, right = clogged_pair
    async with open_shared_stream(left, grace=0) as shared:
        await wait_all_tasks_blocked()
        await broadcast(shared, b"message")
        await trio.aclose_forcefully(shared)
    assert shared.sender.unsent == [b"message"]
    assert shared.sender.unfinished == b""
    assert b"m" not in await receive_to_end(right)


async def test_a_connection_that_broke_breaks_the_sender(pair):
    left, right = pair
    with pytest.raises(trio.BrokenResourceError):
        async with open_shared_stream(left) as shared:
            await wait_all_tasks_blocked()
            await right.aclose()
            # The first may still be taken.
            for _ in range(2):
                await triobatch.broadcast([shared], b"message")
            await shared.sender.wait_broken()
            (delivery,) = await triobatch.broadcast([shared], b"message")
            assert delivery.status == "broken"
            await shared.send_all(b"message")


async def test_a_stream_that_was_closed_below_closes_the_sender(pair):
    with pytest.raises(trio.ClosedResourceError):
        async with open_shared_stream(pair[0]) as shared:
            await wait_all_tasks_blocked()
            await pair[0].aclose()
            result = await triobatch.broadcast([shared], b"message")
            # Its sender has it, and ends.
            assert statuses(result) == ["closed"]
            await shared.sender.wait_broken()
            result = await triobatch.broadcast([shared], b"message")
            assert statuses(result) == ["closed"]
    assert shared.sender.unsent == [b"message"]


async def test_a_way_to_queue_of_ones_own_is_asked(pair):
    class Counting(SharedStream):
        queued = 0

        def queue_nowait(self, data):
            self.queued += len(data)
            super().queue_nowait(data)

    async with open_shared_stream(pair[0]) as inner:
        await wait_all_tasks_blocked()
        counting = Counting(inner.stream, inner.sender, 0)
        await broadcast(counting, b"message")
        assert counting.queued == 7
    assert await receive_exactly(pair[1], 7) == b"message"


async def test_one_that_is_stuck_holds_up_no_other(make_streams):
    stuck, other = await make_streams(), await make_streams()
    async with (
        open_shared_stream(stuck[0], grace=0) as first,
        open_shared_stream(other[0], grace=0) as second,
        trio.open_nursery() as nursery,
    ):
        await wait_all_tasks_blocked()
        result = await triobatch.broadcast([first, second], LARGE)
        assert statuses(result) == ["queued", "queued"]
        assert await receive_exactly(other[1], len(LARGE)) == LARGE
        result = await triobatch.broadcast([first, second, stuck[0]], b"m")
        assert statuses(result) == ["full", "queued", "busy"]
        nursery.start_soon(discard, stuck[1])
        await first.sender.flush()
        nursery.cancel_scope.cancel()


async def test_one_that_broke_under_the_call_is_told_as_broken(pair):
    near, far = pair
    with pytest.raises(trio.BrokenResourceError):
        async with open_shared_stream(near) as shared:
            await wait_all_tasks_blocked()
            await far.aclose()
            # The first is taken by TCP, and answered with a reset.
            with contextlib.suppress(OSError):
                await near.socket.send(b"x")
            result = await triobatch.broadcast([shared], b"message")
            (missed,) = result.missed
            assert (missed.status, missed.sent) == ("broken", 0)
            await shared.sender.wait_broken()
    assert shared.sender.unsent == [b"message"]


@pytest.mark.parametrize("nowait", [True, False])
async def test_nothing_is_queued_where_another_cannot_be_sent_to(
    pair, shared, make_streams, monkeypatch, nowait
):
    other, _ = await make_streams()

    def no_number():
        raise NotImplementedError

    monkeypatch.setattr(other.socket, "fileno", no_number)
    with shared.sender.corked():
        with pytest.raises(TypeError, match="file descriptor"):
            if nowait:
                triobatch.broadcast_nowait([shared, other], b"message")
            else:
                await triobatch.broadcast([shared, other], b"message")
        assert shared.sender.statistics().buffered_size == 0
    monkeypatch.undo()
    await other.aclose()


class Meddling(trio.abc.SendStream):
    """Sends on another stream when a message is queued on it."""

    def __init__(self, other):
        self._other = other

    def queue_nowait(self, data):
        self._other.send_buffers_nowait([b"meddled"])

    async def send_all(self, data):
        raise NotImplementedError

    async def wait_send_all_might_not_block(self):
        raise NotImplementedError

    async def aclose(self):
        raise NotImplementedError


async def test_what_queues_cannot_send_into_the_middle_of_a_message(pair):
    left, right = pair
    async with trio.open_nursery() as nursery:
        received = []

        @nursery.start_soon
        async def receive():
            received.append(await receive_exactly(right, len(LARGE)))

        result = await triobatch.broadcast([left, Meddling(left)], LARGE)
    assert received == [LARGE]
    [sent, meddled] = result
    assert sent.status == "sent"
    assert isinstance(meddled.error, trio.BusyResourceError)
