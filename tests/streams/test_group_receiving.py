"""Groups: what is received, from whom, and in which order."""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import os

import pytest
import trio
from helpers import counted_steps
from trio.testing import assert_checkpoints, wait_all_tasks_blocked

import triobatch
from triobatch import BatchSocketStream, Buffers
from triobatch._core import calls
from triobatch._streams import group_receiving


async def everything(group, wanted):
    """Receive until so many bytes are here; return them by stream."""
    received = {}
    while sum(map(len, received.values())) < wanted:
        for stream, data in await group.receive_batch():
            received[stream] = received.get(stream, b"") + data
    return received


async def test_one_batch_has_what_all_members_have(group, connect):
    pairs = [await connect() for _ in range(5)]
    for i, (_, peer) in enumerate(pairs):
        await peer.send_all(b"%d" % i)
    received = await everything(group, 5)
    assert received == {
        stream: b"%d" % i for i, (stream, _) in enumerate(pairs)
    }


async def test_a_batch_is_waited_for(group, connect):
    stream, peer = await connect()
    batches = []

    async def receive():
        batches.append(await group.receive_batch())

    async with trio.open_nursery() as nursery:
        nursery.start_soon(receive)
        await wait_all_tasks_blocked()
        assert batches == []
        await peer.send_all(b"late")
    assert batches == [[(stream, b"late")]]


async def test_an_empty_group_waits_for_a_member(group, connect):
    batches = []

    async def receive():
        batches.append(await group.receive_batch())

    async with trio.open_nursery() as nursery:
        nursery.start_soon(receive)
        await wait_all_tasks_blocked()
        stream, peer = await connect()
        await peer.send_all(b"first")
    assert batches == [[(stream, b"first")]]


@pytest.mark.parametrize("size", [1, 99, 100, 101, 250])
async def test_no_more_than_receive_size_comes_at_once(group, connect, size):
    stream, peer = await connect()
    await peer.send_all(b"x" * size)
    left = size
    while left:
        expected = b"x" * min(left, 100)
        assert await group.receive_batch() == [(stream, expected)]
        left -= len(expected)


async def test_those_that_were_left_out_come_first_next_time(group, connect):
    pairs = [await connect() for _ in range(5)]
    for _, peer in pairs:
        await peer.send_all(b"x" * 1000)
    await wait_all_tasks_blocked()
    seen = []
    for _ in range(10):
        batch = await group.receive_batch(2)
        assert len(batch) <= 2
        seen += [stream for stream, _ in batch]
    # In turn: with level-triggered events it is the kernel that sees to it.
    assert {seen.count(stream) for stream, _ in pairs} <= {3, 4, 5}
    assert len(set(seen[:6])) == 5


async def test_receiving_is_a_checkpoint(group, connect):
    _, peer = await connect()
    await peer.send_all(b"x")
    await wait_all_tasks_blocked()
    with assert_checkpoints():
        await group.receive_batch()
    with assert_checkpoints(), trio.CancelScope() as scope:
        scope.cancel()
        await group.receive_batch()


async def test_cancelled_means_nothing_was_taken(group, connect):
    stream, peer = await connect()
    await peer.send_all(b"kept")
    await wait_all_tasks_blocked()
    with trio.CancelScope() as scope:
        scope.cancel()
        await group.receive_batch()
    assert scope.cancelled_caught
    assert await group.receive_batch() == [(stream, b"kept")]


async def test_ready_and_cancelled_at_once_means_the_same(group, connect):
    stream, peer = await connect()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(group.receive_batch)
        await wait_all_tasks_blocked()
        # Not a checkpoint.
        assert calls.send(peer.socket.fileno(), b"kept") == 4
        nursery.cancel_scope.cancel()
    assert await group.receive_batch() == [(stream, b"kept")]


async def test_the_end_comes_once_and_last(group, connect):
    stream, peer = await connect()
    other, other_peer = await connect()
    await peer.send_all(b"last words")
    await peer.send_eof()
    assert await group.receive_batch() == [(stream, b"last words")]
    assert await group.receive_batch() == [(stream, b"")]
    assert group.error(stream) is None
    await other_peer.send_all(b"x")
    assert await group.receive_batch() == [(other, b"x")]
    # And nothing more: it does not wake the group for ever.
    with trio.move_on_after(0.01) as scope:
        await group.receive_batch()
    assert scope.cancelled_caught
    assert stream in group


async def test_whose_peer_has_ended_may_still_be_sent_to(group, connect):
    stream, peer = await connect()
    await peer.send_eof()
    assert await group.receive_batch() == [(stream, b"")]
    assert group.send_batch_nowait([(stream, b"answer")]) == []
    assert await peer.receive_some() == b"answer"


@pytest.mark.parametrize("family", ["tcp"])
async def test_a_reset_is_an_end_with_an_error(group, connect, reset):
    stream, peer = await connect()
    other, other_peer = await connect()
    await reset(peer)
    assert await group.receive_batch() == [(stream, b"")]
    assert group.error(stream).errno == errno.ECONNRESET
    ((refused, error),) = group.send_batch_nowait([(stream, b"x")])
    assert refused is stream
    assert isinstance(error, trio.BrokenResourceError)
    assert error.__cause__ is group.error(stream)
    await other_peer.send_all(b"x")
    assert await group.receive_batch() == [(other, b"x")]


async def test_what_came_before_a_failed_send_is_received(group, connect):
    stream, peer = await connect()
    await peer.send_all(b"before")
    await wait_all_tasks_blocked()
    await peer.aclose()
    while not group.send_batch_nowait([(stream, b"x" * 1000)]):
        await trio.lowlevel.checkpoint()
    assert group.error(stream) is not None
    received = b""
    while True:
        ((_, data),) = await group.receive_batch()
        if not data:
            break
        received += data
    # A Unix peer that closes with bytes unread resets; TCP's does not here.
    assert received == b"before"


async def test_two_tasks_cannot_receive(group, connect):
    await connect()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(group.receive_batch)
        await wait_all_tasks_blocked()
        with pytest.raises(trio.BusyResourceError, match="this group"):
            await group.receive_batch()
        nursery.cancel_scope.cancel()
    with trio.move_on_after(0):
        await group.receive_batch()


@pytest.mark.parametrize("count", [0, -1])
async def test_a_batch_has_room_for_one(group, count):
    with pytest.raises(ValueError, match=f"at least 1, not {count}"):
        await group.receive_batch(count)
    with pytest.raises(TypeError):
        await group.receive_batch("1")


async def test_one_at_a_time_will_do(group, connect):
    pairs = [await connect() for _ in range(3)]
    for _, peer in pairs:
        await peer.send_all(b"x")
    seen = set()
    for _ in range(3):
        ((stream, data),) = await group.receive_batch(1)
        assert data == b"x"
        seen.add(stream)
    assert seen == {stream for stream, _ in pairs}


async def test_what_would_block_after_all_is_waited_for(
    group, connect, monkeypatch
):
    # As when another process that has the socket too was faster.
    stream, peer = await connect()
    answers = [[-errno.EAGAIN], [-errno.EINTR]]
    real = calls.receive_group

    def receive_group(arena, fds):
        return answers.pop() if answers else real(arena, fds)

    monkeypatch.setattr(calls, "receive_group", receive_group)
    await peer.send_all(b"x")
    assert await group.receive_batch() == [(stream, b"x")]
    assert answers == []


async def test_an_error_of_the_network_ends_a_member(
    group, connect, monkeypatch
):
    stream, peer = await connect()
    monkeypatch.setattr(calls, "receive_group", lambda *_: [-errno.ETIMEDOUT])
    await peer.send_all(b"x")
    assert await group.receive_batch() == [(stream, b"")]
    error = group.error(stream)
    assert error.errno == errno.ETIMEDOUT
    assert error.strerror == os.strerror(errno.ETIMEDOUT)


async def test_it_counts(group, connect):
    pairs = [await connect() for _ in range(3)]
    assert group.statistics() == triobatch.GroupStatistics(3, 0, 0, 0, 0)
    for _, peer in pairs:
        await peer.send_all(b"abc")
    await wait_all_tasks_blocked()
    await everything(group, 9)
    statistics = group.statistics()
    assert 1 <= statistics.batches <= 3
    assert 1 <= statistics.largest <= 3
    for stream, _ in pairs:
        assert stream.statistics().bytes_received == 3
        assert stream.statistics().receive_calls == 1


async def test_a_batch_has_at_most_128_streams_by_default(group, sets):
    peers = []
    with contextlib.ExitStack() as stack:
        for _ in range(130):
            left, right = trio.socket.socketpair()
            stack.enter_context(left)
            stack.enter_context(right)
            group.add(BatchSocketStream(left))
            await right.send(b"x")
            peers.append(right)
        await wait_all_tasks_blocked()
        assert len(await group.receive_batch()) == 128
        for stream in group:
            group.remove(stream)


async def test_each_batch_is_a_checkpoint(group, connect):
    _stream, peer = await connect()
    for _ in range(3):
        await peer.send_all(b"x")
        with assert_checkpoints():
            await group.receive_batch()


async def test_in_its_turn_a_server_goes_on_but_can_be_cancelled(
    group, connect
):
    _stream, peer = await connect()
    receives = group._receives

    async def send():
        await wait_all_tasks_blocked()
        peer.send_buffers_nowait(Buffers([b"1"]))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(send)
        # The turn begins with what is waited for.
        await receives.next(128, 100)
    peer.send_buffers_nowait(Buffers([b"2"]))
    await wait_all_tasks_blocked()
    receives._doubts = 0
    with counted_steps() as steps:
        assert (await receives.next(128, 100))[0][1] == b"2"
    assert steps.count == 0
    peer.send_buffers_nowait(Buffers([b"3"]))
    with trio.CancelScope() as scope:
        scope.cancel()
        await receives.next(128, 100)
    assert scope.cancelled_caught
    assert (await group.receive_batch())[0][1] == b"3"


@pytest.mark.parametrize("is_there", [True, False])
async def test_a_turn_lasts_so_long_from_when_others_could_run(
    group, connect, monkeypatch, is_there
):
    now = 1000.0
    monkeypatch.setattr(group_receiving, "monotonic", lambda: now)
    _stream, peer = await connect()
    receives = group._receives

    async def send():
        await wait_all_tasks_blocked()
        peer.send_buffers_nowait(Buffers([b"x"]))

    async def passes():
        """Return whether others could run before the next batch."""
        receives._doubts = 0
        with counted_steps() as steps:
            assert (await receives.next(128, 2))[0][1] == b"x"
        return steps.count > 0

    async with trio.open_nursery() as nursery:
        nursery.start_soon(send)
        if is_there:
            await wait_all_tasks_blocked()
        # One begins with either.
        receives._doubts = 0 if is_there else 1
        await receives.next(128, 2)
    found = []
    for now in (1001.9, 1002.0, 1003.9, 1004.0):  # noqa: B007 (the clock)
        peer.send_buffers_nowait(Buffers([b"x"]))
        await wait_all_tasks_blocked()
        found.append(await passes())
    assert found == [False, True, False, True]


async def test_who_has_nothing_is_not_asked_for_some_batches(group, connect):
    _stream, peer = await connect()
    receives = group._receives

    async def batch_of_one():
        async with trio.open_nursery() as nursery:
            nursery.start_soon(send)
            return await receives.next(128)

    async def send():
        await wait_all_tasks_blocked()
        peer.send_buffers_nowait(Buffers([b"x"]))

    # It had not come in a turn.
    assert await batch_of_one()
    assert receives._doubts == group_receiving._DOUBTS - 1
    for left in reversed(range(group_receiving._DOUBTS - 1)):
        assert await batch_of_one()
        assert receives._doubts == left


async def test_while_nothing_comes_it_sleeps(group, connect, nursery):
    await connect()
    nursery.start_soon(group.receive_batch)
    await wait_all_tasks_blocked()
    with counted_steps() as steps:
        await trio.sleep(0.05)
    # Its own, after the sleep.
    assert steps.count <= 1
    nursery.cancel_scope.cancel()


async def test_what_looks_ready_and_brings_nothing_does_not_make_it_spin(
    group, connect, monkeypatch, autojump_clock
):
    taken = []

    def nothing(_arena, fds):
        taken.append(fds)
        return [-errno.EAGAIN] * len(fds)

    monkeypatch.setattr(calls, "receive_group", nothing)
    _stream, peer = await connect()
    await peer.send_all(b"x")
    with trio.move_on_after(0.2):
        await group.receive_batch()
    assert 2 <= len(taken) < 60


def test_its_statistics_are_values():
    statistics = triobatch.GroupStatistics(1, 0, 0, 0, 0)
    with pytest.raises(dataclasses.FrozenInstanceError):
        statistics.members = 2
    assert not hasattr(statistics, "__dict__")
