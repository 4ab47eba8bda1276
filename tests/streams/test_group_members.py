"""Groups: who is in, who may be, and what becomes of them."""

from __future__ import annotations

import gc
import os
import socket
import threading

import pytest
import trio
from trio import socket as tsocket
from trio.testing import assert_checkpoints, wait_all_tasks_blocked

import triobatch
from triobatch import BatchSocketStream, Buffers
from triobatch._core import calls
from triobatch._streams import group_readiness, receiving
from triobatch._streams.group_members import Members


async def drained(peer, size):
    received = bytearray()
    while len(received) < size:
        data = await peer.receive_some()
        assert data
        received += data
    return bytes(received)


async def nothing_comes(group):
    """Whether the group really waits: it neither returns nor spins."""
    real = group._members.readers.take
    takes = []
    group._members.readers.take = lambda n: takes.append(n) or real(n)
    try:
        with trio.move_on_after(0.05) as scope:
            await group.receive_batch()
    finally:
        del group._members.readers.take
    return scope.cancelled_caught and len(takes) <= 5


async def test_a_group_is_a_collection(group, connect, make_streams):
    assert len(group) == 0
    assert list(group) == []
    pairs = [await connect() for _ in range(3)]
    assert len(group) == 3
    assert list(group) == [stream for stream, _ in pairs]
    assert pairs[0][0] in group
    assert pairs[0][1] not in group
    assert "stream" not in group
    for stream in group:
        group.remove(stream)
    assert len(group) == 0


async def test_who_is_removed_is_as_before(group, connect):
    stream, peer = await connect()
    await peer.send_all(b"x")
    assert bytes(group.remove(stream)) == b""
    assert stream not in group
    assert await stream.receive_some() == b"x"
    await stream.send_all(b"y")
    assert await peer.receive_some() == b"y"
    group.add(stream)
    await peer.send_all(b"z")
    assert await group.receive_batch() == [(stream, b"z")]


async def test_who_is_removed_is_not_closed_when_all_has_left(
    group, connect, fall_behind
):
    stream, _ = await connect()
    fall_behind(stream)
    group._close_when_sent(stream)
    assert group.remove(stream).nbytes > 0
    assert stream.socket.fileno() != -1


async def test_who_is_removed_tells_what_it_did_in_the_group(group, connect):
    stream, peer = await connect()
    await peer.send_all(b"four")
    await group.receive_batch()
    group.send_batch_nowait([(stream, b"abc")])
    group.remove(stream)
    done = stream.statistics()
    assert (done.bytes_received, done.receive_calls) == (4, 1)
    assert (done.bytes_sent, done.send_calls) == (3, 1)


async def test_what_was_queued_is_handed_back(group, connect, fall_behind):
    stream, peer = await connect()
    sent = fall_behind(stream)
    flushed = []

    async def flush():
        with pytest.raises(trio.ClosedResourceError, match="left its group"):
            await group.flush(stream)
        flushed.append(True)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(flush)
        await wait_all_tasks_blocked()
        rest = group.remove(stream)
    assert flushed
    assert isinstance(rest, Buffers)
    assert rest.nbytes > 0
    assert group.statistics().queued_size == 0
    async with trio.open_nursery() as nursery:
        nursery.start_soon(stream.send_buffers, rest)
        assert await drained(peer, sent) == b"x" * sent


@pytest.mark.parametrize("ask", ["remove", "queued", "error"])
async def test_a_stranger_is_refused(group, make_streams, ask):
    stranger, _ = await make_streams()
    with pytest.raises(ValueError, match="must be a member of this group"):
        getattr(group, ask)(stranger)
    with pytest.raises(ValueError, match="must be a member of this group"):
        await group.flush(stranger)


async def test_one_group_at_a_time(group, connect, sets):
    stream, _ = await connect()
    with pytest.raises(trio.BusyResourceError, match="in a group already"):
        group.add(stream)
    async with triobatch.open_stream_group() as other:
        with pytest.raises(trio.BusyResourceError, match="in a group already"):
            other.add(stream)
        assert stream not in other
    assert stream in group


async def test_receiving_from_a_member_is_busy(group, connect):
    stream, peer = await connect()
    await peer.send_all(b"x")
    with pytest.raises(trio.BusyResourceError, match="a stream group"):
        await stream.receive_some()
    with pytest.raises(trio.BusyResourceError, match="a stream group"):
        await stream.receive_into(bytearray(1))
    assert await group.receive_batch() == [(stream, b"x")]


async def test_who_is_received_from_cannot_be_added(group, make_streams):
    stream, peer = await make_streams()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(stream.receive_some)
        await wait_all_tasks_blocked()
        with pytest.raises(trio.BusyResourceError, match="receiving"):
            group.add(stream)
        assert stream not in group
        nursery.cancel_scope.cancel()
    group.add(stream)
    await peer.send_all(b"x")
    assert await group.receive_batch() == [(stream, b"x")]


async def test_nor_while_its_reader_has_yet_to_hand_out_what_it_took(
    group, make_streams, monkeypatch
):
    # If the group took what comes next, its reader would see later bytes
    # first.
    stream, peer = await make_streams()
    await peer.send_all(b"early")
    await wait_all_tasks_blocked()
    refused = []

    async def checkpoint():
        with pytest.raises(trio.BusyResourceError, match="receiving"):
            group.add(stream)
        refused.append(True)

    monkeypatch.setattr(receiving, "cancel_shielded_checkpoint", checkpoint)
    assert await stream.receive_some() == b"early"
    assert refused
    group.add(stream)


async def test_other_things_cannot_be_added(group):
    for thing in ("stream", None, trio.testing.memory_stream_pair()[0]):
        with pytest.raises(TypeError, match="must be a BatchSocketStream"):
            group.add(thing)


async def test_tls_cannot_take_part(group, make_streams, tls):
    stream, _ = await make_streams()
    encrypted = trio.SSLStream(stream, tls[0], server_hostname="localhost")
    with pytest.raises(TypeError, match="with TLS cannot take part"):
        group.add(encrypted)


async def test_who_is_closed_cannot_be_added(group, make_streams):
    stream, _ = await make_streams()
    await stream.aclose()
    with pytest.raises(trio.ClosedResourceError):
        group.add(stream)


async def test_closing_a_member_takes_it_out(group, connect):
    stream, peer = await connect()
    await stream.aclose()
    assert stream not in group
    assert len(group) == 0
    assert await peer.receive_some() == b""
    ((_, error),) = group.send_batch_nowait([(stream, b"x")])
    assert isinstance(error, trio.ClosedResourceError)
    assert await nothing_comes(group)


async def test_closing_one_that_is_behind(group, connect, fall_behind):
    stream, _ = await connect()
    fall_behind(stream)
    await stream.aclose()
    assert group.statistics().behind == 0
    await group.flush()


@pytest.mark.parametrize("state", ["read", "behind", "ended"])
async def test_closed_while_another_descriptor_holds_it(
    group, connect, fall_behind, state
):
    # As after fork(2): the file stays open, and in the epoll set, unless it
    # is taken out first. It would be ready for ever.
    stream, peer = await connect()
    if state == "behind":
        fall_behind(stream)
    if state == "ended":
        await peer.send_eof()
        await group.receive_batch()
    held = os.dup(stream.socket.fileno())
    try:
        await stream.aclose()
        if state != "ended":
            await peer.send_all(b"x")
        assert await nothing_comes(group)
    finally:
        os.close(held)


async def reused(stream, make_streams):
    """Return a pair whose first stream has the number of a closed one."""
    number = stream.socket.fileno()
    stream.socket.close()
    left, right = socket.socketpair()
    if right.fileno() == number:
        left, right = right, left
    if left.fileno() != number:
        os.dup2(left.fileno(), number)
        left.close()
        left = socket.socket(fileno=number)
    left.setblocking(False)
    right.setblocking(False)
    return (
        BatchSocketStream(tsocket.from_stdlib_socket(left)),
        BatchSocketStream(tsocket.from_stdlib_socket(right)),
    )


@pytest.mark.parametrize("held", [False, True])
async def test_another_stream_with_the_number_of_one_that_was_closed(
    group, connect, make_streams, held
):
    # Closed behind the group's back, by its socket.
    stream, peer = await connect()
    other, other_peer = await connect()
    copy = os.dup(stream.socket.fileno()) if held else -1
    successor, successor_peer = await reused(stream, make_streams)
    async with successor, successor_peer:
        try:
            await successor_peer.send_all(b"not the group's")
            if held:
                # The set names the number, and means the file held.
                await peer.send_all(b"nobody's")
            await other_peer.send_all(b"x")
            assert await group.receive_batch() == [(other, b"x")]
            assert await nothing_comes(group)
            assert await successor.receive_some() == b"not the group's"
            refused = group.send_batch_nowait([(stream, b"y"), (other, b"z")])
            assert [one for one, _ in refused] == [stream]
            assert isinstance(refused[0][1], trio.ClosedResourceError)
            assert stream not in group
            assert await other_peer.receive_some() == b"z"
            assert nothing_is_there(successor_peer)
        finally:
            if held:
                os.close(copy)


def nothing_is_there(stream):
    return calls.receive(stream.socket.fileno(), 1) is None


@pytest.mark.parametrize("noticed", [False, True])
async def test_such_a_stream_may_be_added(
    group, connect, make_streams, noticed
):
    stream, peer = await connect()
    other, other_peer = await connect()
    copy = os.dup(stream.socket.fileno())
    successor, successor_peer = await reused(stream, make_streams)
    try:
        if noticed:
            group.remove(stream)
        group.add(successor)
        assert stream not in group
        assert len(group) == 2
        await peer.send_all(b"nobody's")
        assert await nothing_comes(group)
        await successor_peer.send_all(b"its own")
        assert await group.receive_batch() == [(successor, b"its own")]
        await other_peer.send_all(b"x")
        assert await group.receive_batch() == [(other, b"x")]
    finally:
        os.close(copy)
        await successor_peer.aclose()


async def test_the_number_of_one_that_is_behind(
    group, connect, make_streams, fall_behind
):
    stream, peer = await connect()
    fall_behind(stream)
    copy = os.dup(stream.socket.fileno())
    successor, successor_peer = await reused(stream, make_streams)
    async with successor, successor_peer:
        try:
            # Writable now, by the number of another.
            while not nothing_is_there(peer):
                calls.receive(peer.socket.fileno(), 2**20)
            await group.flush()
        finally:
            os.close(copy)
        assert stream not in group
        assert nothing_is_there(successor_peer)


async def test_leaving_the_block_closes_the_members(make_streams, sets):
    stream, peer = await make_streams()
    handed_back, other_peer = await make_streams()
    async with triobatch.open_stream_group() as group:
        group.add(stream)
        group.add(handed_back)
        group.remove(handed_back)
    assert stream.socket.fileno() == -1
    assert await peer.receive_some() == b""
    await handed_back.send_all(b"x")
    assert await other_peer.receive_some() == b"x"


async def test_a_group_that_is_closed_says_so(make_streams, sets):
    stream, _ = await make_streams()
    async with triobatch.open_stream_group() as group:
        pass
    for call in (
        lambda: group.add(stream),
        lambda: group.send_batch_nowait([]),
    ):
        with pytest.raises(trio.ClosedResourceError, match="this group"):
            call()
    for wait in (group.receive_batch, group.flush):
        with pytest.raises(trio.ClosedResourceError, match="this group"):
            await wait()
    assert len(group) == 0


async def test_it_is_closed_while_waited_on(make_streams, sets):
    stream, _ = await make_streams()
    behind, _ = await make_streams()
    told = []

    async def wait(function):
        with pytest.raises(trio.ClosedResourceError, match="this group"):
            await function()
        told.append(function.__name__)

    async with (
        trio.open_nursery() as nursery,
        triobatch.open_stream_group() as group,
    ):
        group.add(stream)
        group.add(behind)
        group.send_batch_nowait([(behind, bytes(10_000_000))])
        nursery.start_soon(wait, group.receive_batch)
        nursery.start_soon(wait, group.flush)
        await wait_all_tasks_blocked()
    assert sorted(told) == ["flush", "receive_batch"]


async def test_it_is_closed_while_one_member_is_flushed(make_streams, sets):
    behind, _ = await make_streams()
    told = False

    async def flush():
        nonlocal told
        with pytest.raises(trio.ClosedResourceError, match="this group"):
            await group.flush(behind)
        told = True

    async with (
        trio.open_nursery() as nursery,
        triobatch.open_stream_group() as group,
    ):
        group.add(behind)
        group.send_batch_nowait([(behind, bytes(10_000_000))])
        nursery.start_soon(flush)
        await wait_all_tasks_blocked()
    assert told


async def test_it_says_how_many_it_has(make_streams, sets):
    stream, _ = await make_streams()
    async with triobatch.open_stream_group() as group:
        group.add(stream)
        assert repr(group) == "<StreamGroup: 1 streams>"
    assert repr(group) == "<StreamGroup: 0 streams, closed>"


@pytest.mark.parametrize("cancelled", [False, True])
async def test_the_block_ends_with_its_own_exception(
    make_streams, sets, cancelled
):
    stream, _ = await make_streams()
    with trio.CancelScope() as scope, pytest.raises(KeyError, match="mine"):
        async with triobatch.open_stream_group() as group:
            group.add(stream)
            group.send_batch_nowait([(stream, bytes(10_000_000))])
            if cancelled:
                scope.cancel()
            raise KeyError("mine")
    assert stream.socket.fileno() == -1


async def test_a_cancelled_block_is_cancelled(make_streams, sets):
    stream, _ = await make_streams()
    with trio.move_on_after(0.01) as scope:
        async with triobatch.open_stream_group() as group:
            group.add(stream)
            await group.receive_batch()
    assert scope.cancelled_caught


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ({"receive_size": 0}, ValueError),
        ({"receive_size": -1}, ValueError),
        ({"receive_size": 1.5}, TypeError),
        ({"max_queued": -1}, ValueError),
        ({"max_queued": None}, TypeError),
    ],
)
async def test_sizes_are_checked_at_once(arguments, error):
    with pytest.raises(error):
        triobatch.open_stream_group(**arguments)


async def test_no_descriptor_stays_open(make_streams, sets):
    def count():
        gc.collect()
        return len(os.listdir("/proc/self/fd"))

    async with triobatch.open_stream_group():
        pass
    before = count()
    for _ in range(3):
        async with triobatch.open_stream_group() as group:
            group._members._rebuild()
    assert count() == before


async def test_without_epoll_there_are_tasks(monkeypatch):
    monkeypatch.setattr(group_readiness, "_EPOLL", False)
    async with triobatch.open_stream_group() as group:
        assert isinstance(group._members.readers, group_readiness.TaskSet)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
async def test_a_child_that_ends_disturbs_nothing(group, connect):
    # It closes its copies of everything, the epoll set too.
    stream, peer = await connect()
    if threading.active_count() > 1:
        pytest.skip("forking beside threads is not safe")
    child = os.fork()
    if not child:
        os._exit(0)
    await trio.to_thread.run_sync(os.waitpid, child, 0)
    await peer.send_all(b"x")
    assert await group.receive_batch() == [(stream, b"x")]


async def test_what_was_forgotten_is_not_taken_for_a_member(group, connect):
    # Closed by its socket, and found out by sending: the file is still in
    # the epoll set, since another descriptor holds it.
    stream, peer = await connect()
    other, other_peer = await connect()
    held = os.dup(stream.socket.fileno())
    try:
        member = group._members.get(stream)
        stream.socket.close()
        [(refused, _)] = group.send_batch_nowait([(stream, b"y")])
        assert refused is stream
        assert stream not in group
        group._members.forget(member)
        assert len(group) == 1
        await peer.send_all(b"nobody's")
        assert await nothing_comes(group)
        await other_peer.send_all(b"x")
        assert await group.receive_batch() == [(other, b"x")]
    finally:
        os.close(held)


async def test_it_is_closed_while_others_have_their_turn(make_streams, sets):
    async def receive(group):
        with pytest.raises(trio.ClosedResourceError, match="this group was"):
            await group.receive_batch()

    async with trio.open_nursery() as nursery:
        async with triobatch.open_stream_group() as group:
            left, right = await make_streams()
            group.add(left)
            await right.send_all(b"x")
            await group.receive_batch()
            nursery.start_soon(receive, group)
            await trio.lowlevel.checkpoint()
        await right.aclose()
    assert not group._members._send_turn()


async def test_who_is_to_be_closed_is_when_all_has_left(
    group, connect, fall_behind
):
    behind, peer = await connect()
    idle, _ = await connect()
    size = fall_behind(behind)
    members = group._members
    for stream in (behind, idle):
        members.close_when_sent(members.get(stream))
    assert (behind in group, idle in group) == (True, False)
    assert idle.socket.fileno() == -1
    assert await drained(peer, size) == b"x" * size
    assert await peer.receive_some() == b""
    assert behind.socket.fileno() == -1
    assert len(group) == 0


async def test_who_is_behind_and_closed_in_the_call_is_forgotten(
    group, connect, fall_behind, monkeypatch
):
    stream, _ = await connect()
    fall_behind(stream)
    member = group._members.get(stream)

    # As by another thread, just then.
    def send_nowait(*_):
        raise trio.ClosedResourceError

    monkeypatch.setattr(type(stream._send), "send_nowait", send_nowait)
    assert group._members._push(member)
    assert stream not in group


async def test_what_is_ready_is_waited_for_with_a_checkpoint(group, connect):
    _, peer = await connect()
    await peer.send_all(b"x")
    readers = group._members.readers
    await readers.wait()
    with assert_checkpoints():
        await readers.wait()
    [(_, data)] = await group.receive_batch()
    assert data == b"x"


async def test_a_set_that_was_closed_ends_the_sending(group):
    class Closed:
        async def wait(self):
            await trio.lowlevel.checkpoint()
            raise trio.ClosedResourceError

    members = Members(group._members.readers, Closed())
    with trio.fail_after(5):
        await members.send_queued()
