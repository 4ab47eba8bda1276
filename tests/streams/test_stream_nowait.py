"""send_buffers_nowait: what fits now, and not a byte more."""

from __future__ import annotations

import errno
import os

import pytest
import trio
from trio.testing import assert_no_checkpoints, wait_all_tasks_blocked

from triobatch import BatchSocketStream, Buffers


async def test_what_fits_is_sent_and_consumed(pair):
    left, right = pair
    buffers = Buffers([b"one ", b"two"])
    with assert_no_checkpoints():
        assert left.send_buffers_nowait(buffers) == 7
    assert not buffers
    assert await right.receive_some() == b"one two"


@pytest.mark.parametrize("chunk_size", [100, 2**16, 2**24])
async def test_what_does_not_fit_is_left(pair, chunk_size):
    left, right = pair
    whole = os.urandom(4096) * 2**12
    buffers = Buffers(
        [
            whole[start : start + chunk_size]
            for start in range(0, len(whole), chunk_size)
        ]
    )
    received = bytearray()
    while buffers:
        before = buffers.nbytes
        try:
            sent = left.send_buffers_nowait(buffers)
        except trio.WouldBlock:
            assert buffers.nbytes == before
            received += await right.receive_some(2**20)
        else:
            assert 0 < sent == before - buffers.nbytes
    while len(received) < len(whole):
        received += await right.receive_some(2**20)
    assert received == whole


async def test_a_full_stream_would_block(clogged_pair):
    left, _ = clogged_pair
    buffers = Buffers([b"a", b"b"])
    for _ in range(2):
        with pytest.raises(trio.WouldBlock), assert_no_checkpoints():
            left.send_buffers_nowait(buffers)
    assert list(buffers) == [b"a", b"b"]


async def test_nothing_to_send_is_0_even_if_the_stream_is_full(clogged_pair):
    left, _ = clogged_pair
    before = left.statistics()
    assert left.send_buffers_nowait(Buffers()) == 0
    assert left.statistics() == before


async def test_a_peer_that_went_breaks_the_stream(pair, family):
    left, right = pair
    await right.aclose()
    if family == "tcp":
        # It takes the first, and learns from the answer.
        assert left.send_buffers_nowait(Buffers([b"x"])) == 1
        await wait_all_tasks_blocked()
    buffers = Buffers([b"x"] * 3)
    with pytest.raises(trio.BrokenResourceError) as caught:
        left.send_buffers_nowait(buffers)
    assert isinstance(caught.value.__cause__, OSError)
    assert buffers.nbytes == 3


async def test_an_error_after_progress_keeps_what_was_not_sent(pair, around):
    left, _ = pair
    results = iter([(3, True), OSError(errno.EPIPE, "Broken pipe")])

    def send_copied(real, fd, chunks, index, offset):
        # All that one call can offer, as if there were more than its room.
        result = next(results)
        if isinstance(result, OSError):
            raise result
        return result

    around("send_copied", send_copied)
    buffers = Buffers([b"ab", b"cde", b"f"])
    with pytest.raises(trio.BrokenResourceError):
        left.send_buffers_nowait(buffers)
    assert bytes(buffers) == b"def"
    assert left.statistics().bytes_sent == 3


async def test_buffers_on_their_way_are_busy(make_streams, clog):
    left, _ = await make_streams()
    other, _ = await make_streams()
    await clog(left)
    buffers = Buffers([b"x"])
    async with trio.open_nursery() as nursery:
        nursery.start_soon(left.send_buffers, buffers)
        await wait_all_tasks_blocked()
        with pytest.raises(trio.BusyResourceError, match="these buffers"):
            other.send_buffers_nowait(buffers)
        nursery.cancel_scope.cancel()
    assert other.send_buffers_nowait(buffers) == 1


def test_it_needs_no_task():
    # Nor even an event loop: a socket's number is all that it asks Trio for.
    left, right = trio.socket.socketpair()
    stream = BatchSocketStream(left)
    assert stream.send_buffers_nowait(Buffers([b"x"])) == 1
    for sock in (left, right):
        os.close(sock.detach())


@pytest.mark.parametrize("kind", [list, tuple])
async def test_of_a_list_what_was_sent_is_what_is_returned(pair, kind):
    left, right = pair
    numbers = bytearray(b"two")
    chunks = kind([b"one ", numbers, memoryview(b"")])
    with assert_no_checkpoints():
        assert left.send_buffers_nowait(chunks) == 7
    assert len(chunks) == 3
    numbers.append(0)
    assert await right.receive_some() == b"one two"
    assert left.send_buffers_nowait(kind()) == 0


async def test_of_a_list_that_does_not_fit_the_front_was_sent(pair):
    left, right = pair
    chunk = bytearray(os.urandom(2**16))
    chunks = [chunk] * 400
    sent = left.send_buffers_nowait(chunks)
    assert 0 < sent < 400 * 2**16
    with pytest.raises(trio.WouldBlock):
        while True:
            sent += left.send_buffers_nowait([b"".join(chunks)[sent:]])
    chunk.append(0)
    received = bytearray()
    while len(received) < sent:
        received += await right.receive_some(2**20)
    assert received == (bytes(chunk[:-1]) * 400)[:sent]


@pytest.mark.parametrize(
    "chunks",
    [b"x", bytearray(b"x"), "x", None, 3, {b"x"}, iter([])],
)
async def test_what_is_no_list_is_refused(pair, chunks):
    with pytest.raises(TypeError, match="a list or a tuple, not"):
        pair[0].send_buffers_nowait(chunks)
    with pytest.raises(TypeError, match="chunk 1 must be"):
        pair[0].send_buffers_nowait([b"a", 5])
    assert not pair[0].statistics().send_calls


@pytest.mark.parametrize("script", [[None], [3], [5, None], [0]])
@pytest.mark.parametrize("kind", [list, tuple])
async def test_of_a_list_too_what_fits_is_sent(pair, play, kind, script):
    left, right = pair
    chunks = kind([b"abc", b"de"])
    wanted = script[0]
    if wanted == 0:
        script = ["EAGAIN"]
    play(left, script)
    if wanted == 0:
        with pytest.raises(trio.WouldBlock):
            left.send_buffers_nowait(chunks)
        return
    assert left.send_buffers_nowait(chunks) == (wanted or 5)
    assert await right.receive_some() == b"abcde"[:wanted]
    assert left.statistics().partial_writes == (wanted == 3)
