from __future__ import annotations

import errno
import itertools
import os
import random
import signal
import socket as stdlib_socket
import zlib

import pytest
import trio
from trio.testing import assert_checkpoints, wait_all_tasks_blocked

from triobatch import Buffers
from triobatch._core import calls
from triobatch._core.chunks import COPY_SIZE, IOV_MAX
from triobatch._streams import sending as _stream_send
from triobatch.testing import os_error

# Not alike, so that chunks that change places are noticed: seven, which no
# limit is a multiple of.
_rng = random.Random(7)
_POOL = [_rng.randbytes(65536) for _ in range(7)]
_MIXTURE = (0, 1, 64, 2047, 0, 4096, 3, 20_000, 700)


def make_chunks(count, size):
    if size == "mixed":
        sizes = (_MIXTURE * (count // len(_MIXTURE) + 1))[:count]
        return [_POOL[i % 7][:size] for i, size in enumerate(sizes)]
    pool = [block[:size] for block in _POOL]
    return [pool[i % 7] for i in range(count)]


def checksum(pieces):
    size = value = 0
    for piece in pieces:
        size += len(piece)
        value = zlib.crc32(piece, value)
    return size, value


# All sizes


@pytest.mark.parametrize("count", [0, 1, 2, 10, 1023, 1024, 1025, 3000])
@pytest.mark.parametrize(
    ("size", "make"),
    [
        *itertools.product([0, 1, 64, 4096, "mixed"], [Buffers, list, iter]),
        # 200 MiB once are enough.
        (65536, Buffers),
    ],
)
async def test_what_is_sent_arrives(pair, count, size, make):
    left, right = pair
    chunks = make_chunks(count, size)
    expected = checksum(chunks)

    async with trio.open_nursery() as nursery:

        @nursery.start_soon
        async def send():
            buffers = make(chunks)
            with assert_checkpoints():
                assert await left.send_buffers(buffers) == expected[0]
            if make is Buffers:
                assert not buffers
            await left.send_eof()

        received = value = 0
        while piece := await right.receive_some(2**20):
            received += len(piece)
            value = zlib.crc32(piece, value)
    assert (received, value) == expected

    statistics = left.statistics()
    assert statistics.bytes_sent == expected[0]
    # As few calls as there can be, and one for each time that the kernel took
    # a part or nothing.
    pieces = -(-expected[0] // COPY_SIZE) + -(-count // IOV_MAX)
    assert statistics.send_calls <= (
        pieces + statistics.partial_writes + statistics.send_waits
    )
    assert right.statistics().bytes_received == expected[0]


@pytest.mark.parametrize("make", [Buffers, list, tuple, iter])
@pytest.mark.parametrize(
    ("count", "size"), [(1, 1), (1, 60_000), (10, 12), (1024, 32), (9, 4096)]
)
async def test_a_batch_that_fits_leaves_in_one_call(pair, count, size, make):
    left, _ = pair
    await left.send_buffers(make(make_chunks(count, size)))
    assert left.statistics().send_calls == 1


@pytest.mark.parametrize("body_type", [bytes, bytearray, memoryview])
async def test_a_header_and_a_body_leave_in_one_call(pair, body_type):
    left, right = pair
    await left.send_buffers([b"header: 4\n", body_type(b"body"), b"\n"])
    assert left.statistics().send_calls == 1
    assert await right.receive_some() == b"header: 4\nbody\n"


async def test_nothing_to_send_needs_no_call(pair):
    left, _ = pair
    for nothing in ([], [b"", b""], Buffers(), ()):
        with assert_checkpoints():
            assert await left.send_buffers(nothing) == 0
    with assert_checkpoints():
        await left.send_all(b"")
    assert left.statistics().send_calls == 0


async def test_the_items_of_a_view_are_counted_in_bytes(small_pair):
    # trio.SocketStream.send_all counts items, and stops too early.
    left, right = small_pair
    items = memoryview(b"".join(_POOL)).cast("I")
    async with trio.open_nursery() as nursery:

        @nursery.start_soon
        async def send():
            await left.send_all(items)
            await left.send_eof()

        received = b"".join([piece async for piece in right])
    assert received == b"".join(_POOL)


async def test_send_all_is_a_checkpoint(pair):
    with assert_checkpoints():
        assert await pair[0].send_all(b"data") is None


async def test_chunks_added_under_way_are_sent_too(clogged_pair):
    left, right = clogged_pair
    buffers = Buffers([b"first "])
    async with trio.open_nursery() as nursery:

        @nursery.start_soon
        async def send():
            assert await left.send_buffers(buffers) == len(b"first second")
            await left.send_eof()

        await wait_all_tasks_blocked()
        buffers.append(b"second")
        received = b"".join([piece async for piece in right])
    assert received.lstrip(b"x") == b"first second"


# What the kernel may answer, from a script


async def test_short_counts_resume_where_they_stopped(pair, play):
    left, _ = pair
    buffers = Buffers([b"ab", b"cde", b"f"])
    play(left, [3, 1, 2])
    assert await left.send_buffers(buffers) == 6
    assert not buffers
    statistics = left.statistics()
    assert (statistics.send_calls, statistics.partial_writes) == (3, 2)


@pytest.mark.parametrize("number", [errno.ECONNRESET, errno.EPIPE])
async def test_an_error_after_progress_keeps_what_was_not_sent(
    pair, play, number
):
    left, _ = pair
    buffers = Buffers([b"ab", b"cde", b"f"])
    play(left, [3, os_error(number)])
    with pytest.raises(trio.BrokenResourceError) as caught:
        await left.send_buffers(buffers)
    assert caught.value.__cause__.errno == number
    assert bytes(buffers) == b"def"
    assert left.statistics().bytes_sent == 3


@pytest.mark.parametrize("number", [errno.EBADF, errno.ENOTSOCK])
async def test_a_descriptor_that_is_none_means_closed(pair, play, number):
    play(pair[0], [os_error(number)])
    with pytest.raises(trio.ClosedResourceError) as caught:
        await pair[0].send_buffers(Buffers([b"ab", b"c"]))
    assert caught.value.__cause__ is None


async def test_a_false_alarm_is_waited_out(pair, play):
    # Writable, and yet EAGAIN: select(2), BUGS.
    left, _ = pair
    buffers = Buffers([b"a", b"b"])
    play(left, ["EAGAIN", "EAGAIN"])
    assert await left.send_buffers(buffers) == 2
    statistics = left.statistics()
    assert (statistics.send_calls, statistics.send_waits) == (3, 2)
    assert statistics.partial_writes == 0


async def test_a_signal_does_not_disturb_a_send(small_pair):
    # EINTR cannot be had of a non-blocking socket; the call goes on anyway.
    left, right = small_pair
    previous = signal.signal(signal.SIGALRM, lambda *_: None)
    signal.setitimer(signal.ITIMER_REAL, 0.0001, 0.0001)
    try:
        async with trio.open_nursery() as nursery:

            @nursery.start_soon
            async def send():
                await left.send_buffers(_POOL[:2])
                await left.send_eof()

            received = [piece async for piece in right]
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, previous)
    assert checksum(received) == checksum(_POOL[:2])


# The descriptor is read anew after each wait


async def test_a_number_that_was_taken_by_another_is_not_written_to(
    clogged_pair, monkeypatch
):
    # In Trio 0.35 a wait may return normally after another task has closed
    # the descriptor, and something else may have its number by then.
    left, _ = clogged_pair
    buffers = Buffers([b"secret", b"s"])
    mine, theirs = stdlib_socket.socketpair()

    async def wait_while_the_number_is_taken(fd):
        left.socket.close()
        os.dup2(mine.fileno(), fd)
        taken.append(fd)
        await trio.lowlevel.checkpoint()

    taken = []
    with mine, theirs, monkeypatch.context() as patch:
        patch.setattr(
            trio.lowlevel, "wait_writable", wait_while_the_number_is_taken
        )
        with pytest.raises(trio.ClosedResourceError):
            await left.send_buffers(buffers)
        theirs.setblocking(False)
        with pytest.raises(BlockingIOError):
            theirs.recv(1)
        os.close(*taken)
    assert bytes(buffers) == b"secrets"


# Fairness


async def test_others_get_their_turn_while_the_peer_keeps_up(pair, around):
    # A peer that never lets the buffer fill up: every call takes everything.
    def take(real, fd, chunks, index, offset):
        return COPY_SIZE, True

    around("send_copied", take)
    turns = 0
    async with trio.open_nursery() as nursery:

        @nursery.start_soon
        async def other():
            nonlocal turns
            while True:
                await trio.lowlevel.checkpoint()
                turns += 1

        size = 2**24
        await pair[0].send_buffers([bytes(1024)] * (size // 1024))
        nursery.cancel_scope.cancel()
    assert turns >= size // _stream_send._YIELD_SIZE // 2


async def test_a_long_send_can_be_cancelled_while_the_peer_keeps_up(
    pair, around
):
    def take_and_cancel(real, fd, chunks, index, offset):
        scope.cancel()
        return COPY_SIZE, True

    around("send_copied", take_and_cancel)
    buffers = Buffers([bytes(1024)] * 2**14)
    with trio.CancelScope() as scope:
        await pair[0].send_buffers(buffers)
    assert scope.cancelled_caught
    assert buffers.nbytes == 2**24 - _stream_send._YIELD_SIZE


@pytest.mark.parametrize("what", ["text", b"one chunk", 5])
async def test_what_is_no_list_of_chunks_is_refused(pair, what):
    with pytest.raises(TypeError, match="buffers must be an iterable"):
        await pair[0].send_buffers(what)


async def test_a_list_that_is_refused_is_one_call(pair, monkeypatch):
    def fail(*_):
        raise os_error(errno.EPIPE)

    left, _ = pair
    monkeypatch.setattr(calls, "send_list", fail)
    with pytest.raises(trio.BrokenResourceError):
        await left.send_buffers([b"x"])
    assert left.statistics().send_calls == 1


async def test_a_list_of_which_a_part_went_is_one_call(pair, monkeypatch):
    left, _ = pair
    monkeypatch.setattr(calls, "send_list", lambda *_: (3, b"rest"))
    assert left.send_buffers_nowait([b"abc", b"rest"]) == 3
    done = left.statistics()
    assert (done.send_calls, done.partial_writes) == (1, 1)
    assert done.bytes_sent == 3


async def test_where_there_is_no_room_one_call_finds_out(clogged_pair):
    left, _ = clogged_pair
    before = left.statistics().send_calls
    with pytest.raises(trio.WouldBlock):
        left.send_buffers_nowait([b"x"])
    assert left.statistics().send_calls == before + 1
