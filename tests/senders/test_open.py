"""The block around a batch sender: leaving it, a break, a crash."""

from __future__ import annotations

import math

import pytest
import trio
from helpers import discard, receive_to_end
from trio.testing import wait_all_tasks_blocked

from triobatch import Buffers, open_batch_sender


class BodyError(Exception):
    """What a body raises."""


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ({"max_buffered": -1}, ValueError),
        ({"max_buffered": 1.5}, TypeError),
        ({"grace": -1}, ValueError),
        ({"grace": math.nan}, ValueError),
    ],
)
async def test_impossible_arguments_are_refused(pair, arguments, error):
    with pytest.raises(error):
        open_batch_sender(pair[0], **arguments)


@pytest.mark.parametrize(
    "arguments", [{"max_buffered": 0}, {"grace": 0}, {"grace": math.inf}]
)
async def test_possible_arguments_are_not(pair, arguments):
    async with open_batch_sender(pair[0], **arguments) as sender:
        await sender.send(b"x")
    assert await pair[1].receive_some(9) == b"x"


async def test_a_target_that_cannot_send_is_refused():
    with pytest.raises(TypeError, match="not list"):
        open_batch_sender([])


async def test_leaving_sends_everything(clogged_pair):
    left, right = clogged_pair
    received = None

    async def receive():
        nonlocal received
        received = (await receive_to_end(right)).lstrip(b"x")

    async with trio.open_nursery() as nursery:
        async with open_batch_sender(left) as sender:
            for number in range(100):
                sender.send_nowait(b"%d," % number)
            await wait_all_tasks_blocked()
            nursery.start_soon(receive)
        assert sender.unsent == []
        assert sender.unfinished == b""
        assert sender.uncertain == []
        assert sender.statistics().messages == 100
        await left.aclose()
    assert received == b"".join(b"%d," % number for number in range(100))


async def test_the_target_is_left_open(pair):
    left, right = pair
    async with open_batch_sender(left) as sender:
        await sender.send(b"one ")
    async with open_batch_sender(left) as sender:
        await sender.send(b"two ")
    await left.send_all(b"three")
    await left.send_eof()
    assert await receive_to_end(right) == b"one two three"


@pytest.mark.parametrize("how", ["normally", "by an exception"])
async def test_after_the_block_nothing_can_be_sent(pair, how):
    left, _right = pair
    try:
        async with open_batch_sender(left) as sender:
            if how != "normally":
                raise BodyError
    except BodyError:
        pass
    message = Buffers([b"x"])
    for data in (b"x", b"", message):
        with pytest.raises(trio.ClosedResourceError):
            await sender.send(data)
        with pytest.raises(trio.ClosedResourceError):
            sender.send_nowait(data)
    assert message.nbytes == 1
    with pytest.raises(trio.ClosedResourceError):
        await sender.flush()


async def test_an_exception_comes_out_as_it_is(pair):
    left, _right = pair
    trouble = BodyError()
    with pytest.raises(BodyError) as caught:
        async with open_batch_sender(left):
            raise trouble
    assert caught.value is trouble
    assert trouble.__context__ is None
    assert trouble.__cause__ is None


async def test_an_exception_leaves_what_was_not_sent(clogged_pair):
    left, right = clogged_pair
    with pytest.raises(BodyError):
        async with open_batch_sender(left) as sender:
            await sender.send(b"a")
            await wait_all_tasks_blocked()
            sender.send_nowait(b"b")
            sender.send_nowait(Buffers([b"c", bytearray(b"d")]))
            raise BodyError
    assert sender.unsent == [b"a", b"b", b"cd"]
    assert sender.unfinished == b""
    # The connection is at a message boundary, and usable.
    async with trio.open_nursery() as nursery:
        nursery.start_soon(left.send_buffers, sender.unsent)
        received = b""
        while not received.endswith(b"xabcd"):
            received = (received + await right.receive_some())[-10:]


async def test_a_message_part_way_out_is_finished(small_pair):
    left, right = small_pair
    large = b"y" * 2_000_000
    received = None

    async def receive():
        nonlocal received
        received = await receive_to_end(right)

    async with trio.open_nursery() as nursery:
        with pytest.raises(BodyError):
            async with open_batch_sender(
                left, max_buffered=2**30, grace=60
            ) as sender:
                for message in (b"before", large, b"after"):
                    sender.send_nowait(message)
                await wait_all_tasks_blocked()
                nursery.start_soon(receive)
                raise BodyError
        assert sender.unsent == [b"after"]
        assert sender.unfinished == b""
        await left.send_all(b"!")
        await left.aclose()
    assert received == b"before" + large + b"!"


async def test_a_batch_that_is_finished_so_counts_as_sent(small_pair):
    left, right = small_pair
    async with trio.open_nursery() as nursery:
        with pytest.raises(BodyError):
            async with open_batch_sender(left, grace=60) as sender:
                sender.send_nowait(b"y" * 2_000_000)
                nursery.start_soon(sender.flush)
                await wait_all_tasks_blocked()
                nursery.start_soon(discard, right)
                raise BodyError
        await left.aclose()
    assert sender.statistics().messages == 1
    assert sender.statistics().buffered_size == 0


async def test_a_break_while_a_message_is_finished_frees_its_chunks(
    small_pair, reset
):
    left, right = small_pair
    chunk = bytearray(2_000_000)
    async with trio.open_nursery() as nursery:
        with pytest.raises(BodyError):
            async with open_batch_sender(left, grace=60) as sender:
                sender.send_nowait(Buffers([chunk]))
                await wait_all_tasks_blocked()
                nursery.start_soon(reset, right)
                raise BodyError
    with pytest.raises(trio.BrokenResourceError) as broken:
        sender.send_nowait(b"x")
    # Its cause, and the frames in the traceback, are still there.
    assert broken.value.__cause__ is not None
    chunk += b"!"
    assert 0 < len(sender.unfinished) < len(chunk)


async def test_a_fault_while_a_message_is_finished_frees_its_chunks(
    small_pair, monkeypatch
):
    left, _right = small_pair
    chunk = bytearray(2_000_000)
    send, calls = left.send_buffers, 0

    async def fail_the_second_time(buffers):
        nonlocal calls
        calls += 1
        if calls == 2:
            raise LookupError
        await send(buffers)

    monkeypatch.setattr(left, "send_buffers", fail_the_second_time)
    with pytest.RaisesGroup(LookupError, BodyError) as caught:
        async with open_batch_sender(left) as sender:
            sender.send_nowait(Buffers([chunk]))
            await wait_all_tasks_blocked()
            raise BodyError
    # The frames in its tracebacks are still there.
    assert caught.value.exceptions[0].__traceback__ is not None
    chunk += b"!"


async def test_a_message_that_cannot_be_finished_is_told(small_pair):
    left, right = small_pair
    large = bytes(range(256)) * 10_000
    with pytest.raises(BodyError):
        async with open_batch_sender(
            left, max_buffered=2**30, grace=0.01
        ) as sender:
            for message in (large, b"after"):
                sender.send_nowait(message)
            await wait_all_tasks_blocked()
            raise BodyError
    assert sender.unsent == [b"after"]
    rest = sender.unfinished
    assert 0 < len(rest) < len(large)
    assert large.endswith(rest)
    received = None

    async def receive():
        nonlocal received
        received = await receive_to_end(right)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(receive)
        await left.send_buffers([rest, *sender.unsent])
        await left.aclose()
    assert received == large + b"after"


async def test_cancellation_leaves_at_a_message_boundary(small_pair):
    left, right = small_pair
    messages = [b"%06d" % number * 100 for number in range(10_000)]
    received = None

    async def receive():
        nonlocal received
        received = await receive_to_end(right)

    async with trio.open_nursery() as nursery:
        with trio.CancelScope() as scope:
            async with open_batch_sender(
                left, max_buffered=2**30, grace=60
            ) as sender:
                for message in messages:
                    sender.send_nowait(message)
                await wait_all_tasks_blocked()
                nursery.start_soon(receive)
                scope.cancel()
                await trio.sleep_forever()
        assert scope.cancelled_caught
        await left.aclose()
    sent = len(messages) - len(sender.unsent)
    assert sender.unfinished == b""
    assert sender.unsent == messages[sent:]
    assert received == b"".join(messages[:sent])


async def test_leaving_can_be_cancelled_while_it_sends_the_rest(clogged_pair):
    left, _right = clogged_pair
    async with trio.open_nursery() as nursery:
        with trio.CancelScope() as scope:
            async with open_batch_sender(left) as sender:
                await sender.send(b"kept")
                nursery.start_soon(cancel_when_blocked, scope)
        assert scope.cancelled_caught
    assert sender.unsent == [b"kept"]


async def cancel_when_blocked(scope):
    await wait_all_tasks_blocked()
    scope.cancel()


async def test_leaving_refuses_those_who_wait_for_room(clogged_pair):
    left, right = clogged_pair
    chunk = bytearray(b"refused")
    message = Buffers([chunk])
    async with trio.open_nursery() as nursery:
        async with open_batch_sender(left, max_buffered=0) as sender:
            await sender.send(b"queued")

            async def send():
                with pytest.raises(trio.ClosedResourceError) as refused:
                    await sender.send(message)
                assert message.nbytes == 7
                message.clear()
                # Whatever the frames in the traceback hold.
                assert refused.tb is not None
                chunk.append(33)

            nursery.start_soon(send)
            await wait_all_tasks_blocked()
            nursery.start_soon(discard, right)
        assert chunk == b"refused!"
        await left.aclose()


async def test_a_flush_of_another_task_ends_when_the_block_does(clogged_pair):
    left, _right = clogged_pair
    async with trio.open_nursery() as nursery:
        with pytest.raises(BodyError):
            async with open_batch_sender(left) as sender:
                await sender.send(b"unsent")

                async def flush():
                    with pytest.raises(trio.ClosedResourceError):
                        await sender.flush()

                nursery.start_soon(flush)
                await wait_all_tasks_blocked()
                raise BodyError


async def test_a_break_is_told_to_all_who_wait_and_all_who_come(
    clogged_pair, reset
):
    left, right = clogged_pair
    broken = []

    async def expect_broken(call, *arguments):
        with pytest.raises(trio.BrokenResourceError) as caught:
            await call(*arguments)
        broken.append(caught.value)

    with pytest.raises(trio.BrokenResourceError):
        async with open_batch_sender(left, max_buffered=0) as sender:
            await sender.send(b"unsent")
            async with trio.open_nursery() as nursery:
                nursery.start_soon(expect_broken, sender.send, b"waits")
                nursery.start_soon(
                    expect_broken, sender.send, Buffers([b"waits"])
                )
                nursery.start_soon(expect_broken, sender.flush)
                await wait_all_tasks_blocked()
                await reset(right)
            await expect_broken(sender.send, b"comes")
            await expect_broken(sender.flush)
            with pytest.raises(trio.BrokenResourceError):
                sender.send_nowait(b"comes")
    assert len(broken) == 5
    for error in broken:
        assert isinstance(error.__cause__, trio.BrokenResourceError)
        assert isinstance(error.__cause__.__cause__, OSError)
    assert sender.unsent == [b"unsent"]


async def test_a_break_with_nothing_unsent_does_not_disturb_leaving(
    pair, reset
):
    left, right = pair
    async with open_batch_sender(left) as sender:
        await sender.send(b"sent")
        await sender.flush()
        await reset(right)
    assert sender.unsent == []


async def test_a_target_that_is_closed_is_told(clogged_pair):
    left, _right = clogged_pair
    with pytest.raises(trio.ClosedResourceError):
        async with open_batch_sender(left) as sender:
            await sender.send(b"unsent")
            await wait_all_tasks_blocked()
            await left.aclose()
            with pytest.raises(trio.ClosedResourceError):
                await sender.flush()
    assert sender.unsent == [b"unsent"]


async def test_an_exception_beside_a_crash_is_not_lost():
    class Crashing(trio.abc.SendStream):
        async def send_all(self, data):
            raise LookupError

        async def wait_send_all_might_not_block(self):
            raise NotImplementedError

        async def aclose(self):
            raise NotImplementedError

    with pytest.RaisesGroup(LookupError, BodyError):
        async with open_batch_sender(Crashing()) as sender:
            await sender.send(b"unsent")
            try:
                await trio.sleep_forever()
            finally:
                raise BodyError


async def test_a_sender_says_whether_it_has_ended(pair):
    left, _right = pair
    async with open_batch_sender(left) as sender:
        sender.send_nowait(b"four")
        said = f"4 bytes queued, on {left!r}"
        assert repr(sender) == f"<BatchSender: {said}>"
    assert repr(sender).startswith("<BatchSender: ended, 0 bytes")
