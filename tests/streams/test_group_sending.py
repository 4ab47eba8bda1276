"""Groups: what is sent, what is queued, and what is refused."""

from __future__ import annotations

import errno
import socket

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

import triobatch
from triobatch import Buffers
from triobatch._core import calls
from triobatch._core.chunks import IOV_MAX
from triobatch._streams.gather import COPY_BELOW


async def drained(peer, size):
    received = bytearray()
    while len(received) < size:
        data = await peer.receive_some()
        assert data
        received += data
    return bytes(received)


async def test_each_gets_its_own(group, connect):
    pairs = [await connect() for _ in range(5)]
    refused = group.send_batch_nowait(
        (stream, b"%d" % i) for i, (stream, _) in enumerate(pairs)
    )
    assert refused == []
    for i, (_, peer) in enumerate(pairs):
        assert await peer.receive_some() == b"%d" % i


@pytest.mark.parametrize(
    "message",
    [
        [b"a"],
        [b"a", b"bc"],
        [b"", b"a", b"", b"bc"],
        [b"%06d" % i for i in range(1000)],
        [b"%d" % (i % 10) for i in range(3 * IOV_MAX)],
        [b"x" * COPY_BELOW, b"y" * COPY_BELOW],
        [b"x" * 100_000, b"y", b"z" * 300_000],
    ],
    ids=len,
)
async def test_a_list_is_one_message(group, connect, message):
    stream, peer = await connect()
    expected = b"".join(message)
    async with trio.open_nursery() as nursery:

        @nursery.start_soon
        async def receive():
            assert await drained(peer, len(expected)) == expected

        assert group.send_batch_nowait([(stream, message)]) == []
        await group.flush(stream)


async def test_several_to_one_stream_keep_their_order(group, connect):
    stream, peer = await connect()
    other, other_peer = await connect()
    messages = [(stream, b"1"), (other, b"x"), (stream, [b"2", b"3"])]
    messages += [(stream, b"4"), (other, [b"y"])]
    assert group.send_batch_nowait(messages) == []
    assert await drained(peer, 4) == b"1234"
    assert await drained(other_peer, 2) == b"xy"


@pytest.mark.parametrize("nothing", [b"", [], [b""], [b"", b""]])
async def test_nothing_is_sent_at_once(group, connect, nothing):
    stream, peer = await connect()
    assert group.send_batch_nowait([(stream, nothing)]) == []
    assert group.send_batch_nowait([(stream, nothing), (stream, b"x")]) == []
    assert await peer.receive_some() == b"x"
    assert group.send_batch_nowait([]) == []


@pytest.mark.parametrize(
    ("message", "kind"),
    [
        ("x", "str"),
        (bytearray(b"x"), "bytearray"),
        ([b"x", "y"], "a list with str"),
        ((b"x",), "tuple"),
        (None, "NoneType"),
    ],
)
@pytest.mark.parametrize("again", [False, True])
async def test_another_type_is_refused_before_anything_is_sent(
    group, connect, message, kind, again
):
    stream, peer = await connect()
    other, _ = await connect()
    messages = [(stream, b"not sent"), (other, message)]
    messages += [(stream, b"neither")] * again
    with pytest.raises(TypeError, match=f"bytes, not {kind}$"):
        group.send_batch_nowait(messages)
    assert group.send_batch_nowait([(stream, b"sent")]) == []
    assert await peer.receive_some() == b"sent"


async def test_only_streams_are_sent_to(group):
    with pytest.raises(TypeError, match="BatchSocketStream, not str"):
        group.send_batch_nowait([("stream", b"x")])
    with pytest.raises(
        TypeError, match=r"messages must be of streams: .*unhash"
    ):
        group.send_batch_nowait([([], b"x")])


async def test_what_does_not_fit_is_queued_and_leaves_by_itself(
    group, connect, fall_behind
):
    stream, peer = await connect()
    sent = fall_behind(stream)
    statistics = group.statistics()
    assert statistics.behind == 1
    assert statistics.queued_size == group.queued(stream) > 0
    assert await drained(peer, sent) == b"x" * sent
    await group.flush()
    assert group.queued(stream) == 0
    assert group.statistics().behind == 0


async def test_it_leaves_while_somebody_receives(group, connect, fall_behind):
    stream, peer = await connect()
    sent = fall_behind(stream)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(group.receive_batch)
        assert await drained(peer, sent) == b"x" * sent
        await wait_all_tasks_blocked()
        assert group.queued(stream) == 0
        nursery.cancel_scope.cancel()


async def test_who_is_behind_is_not_read(group, connect, fall_behind):
    stream, peer = await connect()
    other, other_peer = await connect()
    sent = fall_behind(stream)
    await peer.send_all(b"more")
    await other_peer.send_all(b"x")
    await wait_all_tasks_blocked()
    assert await group.receive_batch() == [(other, b"x")]
    with trio.move_on_after(0.01) as scope:
        await group.receive_batch()
    assert scope.cancelled_caught
    assert await drained(peer, sent) == b"x" * sent
    assert await group.receive_batch() == [(stream, b"more")]


async def test_a_message_over_the_limit_is_refused_whole(
    group, connect, fall_behind
):
    stream, peer = await connect()
    other, other_peer = await connect()
    sent = fall_behind(stream)
    queued = group.queued(stream)
    while queued + 100 <= 1000:
        assert group.send_batch_nowait([(stream, b"y" * 100)]) == []
        sent += 100
        queued += 100
    room = max(1000 - queued, 0)
    refused = group.send_batch_nowait(
        [(stream, b"z" * (room + 1)), (other, b"o"), (stream, b"z")]
    )
    # All after the first that was refused, so that none has a gap before it.
    assert [refused_stream for refused_stream, _ in refused] == [stream] * 2
    assert all(isinstance(error, trio.WouldBlock) for _, error in refused)
    assert group.queued(stream) == queued
    assert await other_peer.receive_some() == b"o"
    if room:
        assert group.send_batch_nowait([(stream, b"z" * room)]) == []
        sent += room
    received = await drained(peer, sent)
    assert received.rstrip(b"z").rstrip(b"y").strip(b"x") == b""
    await group.flush()


async def test_any_message_is_taken_where_nothing_is_queued(group, connect):
    stream, peer = await connect()
    message = bytes(range(256)) * 40_000
    assert group.send_batch_nowait([(stream, message)]) == []
    assert group.queued(stream) > 1000
    assert await drained(peer, len(message)) == message


async def test_of_several_the_first_that_does_not_fit_decides(group, connect):
    stream, peer = await connect()
    messages = [b"%d" % i * 5_000_000 for i in range(3)]
    refused = group.send_batch_nowait([(stream, each) for each in messages])
    assert [type(error) for _, error in refused] == [trio.WouldBlock] * 2
    assert await drained(peer, 5_000_000) == messages[0]
    await group.flush()
    assert group.send_batch_nowait([(stream, b"end")]) == []
    assert await peer.receive_some() == b"end"


async def test_every_obstacle_is_told_and_the_others_are_sent(
    group, connect, make_streams, clog, reset
):
    names = ["well", "closed", "eof", "busy", "broken"]
    pairs = {name: await connect() for name in names}
    pairs["stranger"] = await make_streams()
    streams = {name: stream for name, (stream, _) in pairs.items()}
    await clog(streams["busy"])
    await streams["closed"].aclose()
    await streams["eof"].send_eof()
    await reset(pairs["broken"][1])
    await wait_all_tasks_blocked()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(streams["busy"].send_all, b"x" * 5_000_000)
        await wait_all_tasks_blocked()
        while True:
            # TCP learns of the reset by the first.
            refused = group.send_batch_nowait(
                [(stream, b"x") for stream in streams.values()]
            )
            if len(refused) == 5:
                break
        nursery.cancel_scope.cancel()
    errors = dict(refused)
    assert {
        name: type(errors.get(stream)) for name, stream in streams.items()
    } == {
        "well": type(None),
        "closed": trio.ClosedResourceError,
        "eof": trio.ClosedResourceError,
        "busy": trio.BusyResourceError,
        "broken": trio.BrokenResourceError,
        "stranger": ValueError,
    }
    assert await pairs["well"][1].receive_some() == b"x"
    kept = group.error(streams["broken"])
    assert kept.errno in {errno.ECONNRESET, errno.EPIPE}


async def test_the_one_that_is_no_pair_is_told(group, connect):
    stream, _ = await connect()
    with pytest.raises(TypeError, match=r"message 1 must be a .* not int: 5"):
        group.send_batch_nowait([(stream, b"x"), 5])


async def test_what_is_no_message_is_refused_for_a_stranger_too(
    group, connect, make_streams
):
    stream, _ = await connect()
    stranger, _ = await make_streams()
    with pytest.raises(TypeError, match="bytes, not str"):
        group.send_batch_nowait([(stream, b"not sent"), (stranger, "x")])
    assert stream.statistics().send_calls == 0


async def test_who_takes_all_beside_one_that_does_not_is_counted(
    group, connect, fall_behind
):
    slow, _ = await connect()
    stream, _ = await connect()
    assert (
        group.send_batch_nowait([(slow, b"x" * 20_000_000), (stream, b"abc")])
        == []
    )
    assert group.queued(slow) > 0
    assert stream.statistics().bytes_sent == 3
    assert stream.statistics().partial_writes == 0


async def test_behind_what_is_queued_nothing_is_tried(make_streams, sets):
    stream, _ = await make_streams()
    async with triobatch.open_stream_group() as group:
        group.add(stream)
        message = b"x" * 65536
        while not group.queued(stream):
            group.send_batch_nowait([(stream, message)])
        calls_before = stream.statistics().send_calls
        assert group.send_batch_nowait([(stream, b"y")]) == []
        assert stream.statistics().send_calls == calls_before


async def test_behind_what_is_queued_the_end_is_told(
    group, connect, fall_behind
):
    stream, _ = await connect()
    fall_behind(stream)
    queued = group.queued(stream)
    # Beside the group: its own send_eof() would be busy.
    stream.socket.shutdown(socket.SHUT_WR)
    [(refused, error)] = group.send_batch_nowait([(stream, b"never sent")])
    assert refused is stream
    assert isinstance(error, trio.ClosedResourceError)
    assert str(error) == "can't send data after sending EOF"
    assert group.queued(stream) == queued


async def test_sending_on_who_is_behind_is_busy(group, connect, fall_behind):
    stream, peer = await connect()
    sent = fall_behind(stream)
    for send in (
        lambda: stream.send_all(b"x"),
        lambda: stream.send_buffers([b"x"]),
        stream.wait_send_all_might_not_block,
        stream.send_eof,
    ):
        with pytest.raises(trio.BusyResourceError):
            await send()
    with pytest.raises(trio.BusyResourceError):
        stream.send_buffers_nowait(Buffers([b"x"]))
    await drained(peer, sent)
    await group.flush()
    await stream.send_all(b"by itself")
    assert await peer.receive_some() == b"by itself"


async def test_a_peer_that_goes_with_bytes_queued(
    group, connect, fall_behind, reset
):
    stream, peer = await connect()
    fall_behind(stream)
    flushed = []

    async def flush_it():
        with pytest.raises(trio.BrokenResourceError):
            await group.flush(stream)
        flushed.append("one")

    async def flush_all():
        await group.flush()
        flushed.append("all")

    async with trio.open_nursery() as nursery:
        nursery.start_soon(flush_it)
        nursery.start_soon(flush_all)
        await wait_all_tasks_blocked()
        await reset(peer)
    assert sorted(flushed) == ["all", "one"]
    assert await group.receive_batch() == [(stream, b"")]
    assert group.error(stream).errno in {errno.ECONNRESET, errno.EPIPE}
    # It stays for whoever removes the stream.
    queued = group.queued(stream)
    assert queued > 0
    assert group.remove(stream).nbytes == queued


async def test_flushing_waits_for_the_one_or_for_all(
    group, connect, fall_behind
):
    first, first_peer = await connect()
    second, second_peer = await connect()
    sizes = fall_behind(first), fall_behind(second)
    events = []

    async def flush(name, stream):
        await group.flush(stream)
        events.append(name)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(flush, "all", None)
        nursery.start_soon(flush, "second", second)
        await wait_all_tasks_blocked()
        assert events == []
        await drained(second_peer, sizes[1])
        await wait_all_tasks_blocked()
        assert events == ["second"]
        await drained(first_peer, sizes[0])
    assert events == ["second", "all"]


async def test_flushing_nothing_is_a_checkpoint(group, connect):
    stream, _ = await connect()
    for arguments in ((), (stream,)):
        with trio.testing.assert_checkpoints():
            await group.flush(*arguments)


async def test_a_cancelled_flush_loses_nothing(group, connect, fall_behind):
    stream, peer = await connect()
    sent = fall_behind(stream)
    with trio.move_on_after(0.01) as scope:
        await group.flush()
    assert scope.cancelled_caught
    assert await drained(peer, sent) == b"x" * sent


async def test_one_that_is_closed_when_all_has_left_is_no_member(
    group, connect, fall_behind
):
    stream, peer = await connect()
    sent = fall_behind(stream)
    group._close_when_sent(stream)
    assert stream in group
    assert await drained(peer, sent) == b"x" * sent
    await group.flush()
    assert stream.socket.fileno() == -1
    assert len(group) == 0


async def test_it_is_counted(group, connect):
    stream, peer = await connect()
    assert group.send_batch_nowait([(stream, b"abc")]) == []
    assert stream.statistics().bytes_sent == 3
    assert stream.statistics().send_calls == 1
    message = b"x" * 5_000_000
    assert group.send_batch_nowait([(stream, message)]) == []
    assert stream.statistics().partial_writes >= 1
    await drained(peer, 3 + len(message))
    await group.flush()
    assert stream.statistics().bytes_sent == 3 + len(message)


@pytest.mark.parametrize("number", [errno.EAGAIN, errno.EINTR])
async def test_what_would_block_is_queued(group, connect, monkeypatch, number):
    stream, peer = await connect()
    with monkeypatch.context() as patch:
        patch.setattr(calls, "send_group", lambda *_: ([-number], False))
        assert group.send_batch_nowait([(stream, b"x")]) == []
    assert await peer.receive_some() == b"x"
    await group.flush()


@pytest.mark.parametrize("size", [0, 1])
async def test_a_queue_may_be_nothing_beyond_a_message(
    make_streams, sets, size
):
    stream, peer = await make_streams()
    async with triobatch.open_stream_group(max_queued=size) as group:
        group.add(stream)
        assert group.send_batch_nowait([(stream, b"x" * 5_000_000)]) == []
        ((_, error),) = group.send_batch_nowait([(stream, b"y")])
        assert isinstance(error, trio.WouldBlock)
        assert await drained(peer, 5_000_000) == b"x" * 5_000_000
        await group.flush()
        assert group.send_batch_nowait([(stream, b"y")]) == []
        assert await peer.receive_some() == b"y"
