"""What a stream refuses to send, and in which order it looks."""

from __future__ import annotations

from contextlib import suppress
from functools import partial

import pytest
import trio
from trio import socket as tsocket
from trio.testing import assert_checkpoints, wait_all_tasks_blocked

import triobatch
from triobatch import Buffers

# Order of checks: end of file, then busy, then the argument, as Trio's


@pytest.fixture(params=["send_all", "send_buffers", "send_buffers_nowait"])
def call_send(request):
    """Send on a stream by one of the three ways."""

    async def call(stream, chunk=b"x"):
        if request.param == "send_all":
            return await stream.send_all(chunk)
        if request.param == "send_buffers":
            return await stream.send_buffers([chunk])
        buffers = Buffers([chunk]) if isinstance(chunk, bytes) else chunk
        return stream.send_buffers_nowait(buffers)

    return call


@pytest.mark.parametrize("chunk", [b"x", b"", "text"])
async def test_the_end_of_file_is_checked_first(
    clogged_pair, call_send, chunk
):
    left, _ = clogged_pair
    async with trio.open_nursery() as nursery:
        nursery.start_soon(left.send_buffers, [b"no room"])
        await wait_all_tasks_blocked()
        left.socket.shutdown(tsocket.SHUT_WR)
        with pytest.raises(
            trio.ClosedResourceError, match="after sending EOF"
        ):
            await call_send(left, chunk)
        nursery.cancel_scope.cancel()


async def test_the_end_of_file_counts_in_a_cancelled_scope_too(
    pair, call_send
):
    await pair[0].send_eof()
    with trio.CancelScope() as scope:
        scope.cancel()
        with pytest.raises(
            trio.ClosedResourceError, match="after sending EOF"
        ):
            await call_send(pair[0])


@pytest.mark.parametrize("chunk", [b"x", b"", "text"])
async def test_a_second_sender_is_told_before_its_data_is_looked_at(
    clogged_pair, call_send, chunk
):
    left, _ = clogged_pair
    async with trio.open_nursery() as nursery:
        nursery.start_soon(left.send_buffers, [b"no room"])
        await wait_all_tasks_blocked()
        with pytest.raises(trio.BusyResourceError, match="BatchSocketStream"):
            await call_send(left, chunk)
        nursery.cancel_scope.cancel()


@pytest.mark.parametrize(
    "other", ["send_eof", "wait_send_all_might_not_block"]
)
async def test_all_that_sends_shares_one_guard(clogged_pair, other, call_send):
    left, _ = clogged_pair
    async with trio.open_nursery() as nursery:
        nursery.start_soon(left.send_buffers, [b"no room"])
        await wait_all_tasks_blocked()
        with pytest.raises(trio.BusyResourceError):
            await getattr(left, other)()
        nursery.cancel_scope.cancel()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(left.wait_send_all_might_not_block)
        await wait_all_tasks_blocked()
        with pytest.raises(trio.BusyResourceError):
            await call_send(left)
        nursery.cancel_scope.cancel()


async def test_a_sender_that_only_yields_is_busy_too(pair):
    left, _ = pair
    with pytest.RaisesGroup(trio.BusyResourceError):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(left.send_buffers, [b"one"])
            nursery.start_soon(left.send_buffers, [b"two"])


async def test_the_guard_is_open_after_every_end(clogged_pair, call_send):
    left, _ = clogged_pair
    with pytest.raises(TypeError):
        await call_send(left, 3)
    with trio.move_on_after(0):
        await left.send_buffers([b"no room"])
    # Not BusyResourceError.
    with pytest.raises(trio.WouldBlock):
        left.send_buffers_nowait(Buffers([b"no room"]))


async def test_bad_chunks_are_refused_before_anything_is_sent(pair):
    left, right = pair

    def breaks():
        yield b"first"
        raise LookupError

    strided = memoryview(b"abcdef")[::2]
    for chunks, error in (
        ([b"good", "text"], TypeError),
        ([b"good", 3], TypeError),
        ([b"good", None], TypeError),
        (b"one chunk", TypeError),
        (None, TypeError),
        ([b"good", strided], BufferError),
        (breaks(), LookupError),
    ):
        with pytest.raises(error):
            await left.send_buffers(chunks)
    for data, error in (
        ("t", TypeError),
        (3, TypeError),
        (strided, BufferError),
    ):
        with pytest.raises(error):
            await left.send_all(data)
    assert left.statistics().send_calls == 0
    await left.send_all(b"x")
    assert await right.receive_some() == b"x"


@pytest.mark.parametrize("chunk", [b"x", b""])
async def test_a_closed_stream_says_so(pair, call_send, chunk):
    left, _ = pair
    await left.aclose()
    with pytest.raises(trio.ClosedResourceError, match="already closed"):
        await call_send(left, chunk)


async def test_a_closed_stream_leaves_the_buffers_as_they_were(pair):
    left, _ = pair
    await left.aclose()
    buffers = Buffers([b"a", b"b"])
    with pytest.raises(trio.ClosedResourceError):
        await left.send_buffers(buffers)
    assert list(buffers) == [b"a", b"b"]


async def test_a_peer_that_went_breaks_the_stream_for_good(pair, call_send):
    left, right = pair
    await right.aclose()

    async def keep_sending():
        # TCP takes the first, and learns from the answer.
        while True:
            await call_send(left)

    for _ in range(2):
        with pytest.raises(trio.BrokenResourceError, match="broken") as caught:
            await keep_sending()
        assert isinstance(caught.value.__cause__, OSError)


@pytest.mark.parametrize(
    ("data", "error", "message"),
    [
        ("x", TypeError, "data must be a bytes-like object, not str"),
        (3, TypeError, "data must be a bytes-like object, not int"),
        (memoryview(b"abcd")[::2], BufferError, "data is not contiguous"),
    ],
)
async def test_an_error_speaks_of_what_the_caller_gave(
    pair, data, error, message
):
    left, _right = pair
    with pytest.raises(error, match=message):
        await left.send_all(data)
    with pytest.raises(error, match=message):
        await triobatch.broadcast([left], data)
    async with triobatch.open_batch_sender(left) as sender:
        with pytest.raises(error, match=message):
            await sender.send(data)
        with pytest.raises(error, match=message):
            sender.send_nowait(data)
    # The stream is nobody's now, and nothing was sent.
    await left.send_all(b"")
    assert left.statistics().bytes_sent == 0


@pytest.mark.parametrize(
    "send",
    [
        lambda stream: stream.send_all(b""),
        lambda stream: stream.send_all(b"x"),
        lambda stream: stream.send_buffers([b"x"]),
        lambda stream: stream.send_buffers([bytes(100_000)] * 2),
        lambda stream: stream.send_buffers(Buffers()),
        lambda stream: stream.send_buffers(Buffers([b"x"])),
    ],
)
async def test_a_failed_send_is_a_checkpoint(pair, send):
    # A loop that goes on regardless must let other tasks run.
    left, right = pair
    await right.aclose()
    with pytest.raises(trio.BrokenResourceError):
        while True:
            await left.send_all(b"x")
    with assert_checkpoints(), suppress(trio.BrokenResourceError):
        await send(left)
    await left.aclose()
    with assert_checkpoints(), pytest.raises(trio.ClosedResourceError):
        await send(left)


async def test_a_failed_receive_is_a_checkpoint(pair, reset):
    left, right = pair
    await left.send_all(b"never read")
    await reset(right)
    with assert_checkpoints(), pytest.raises(trio.BrokenResourceError):
        await left.receive_some()
    await left.aclose()
    for receive in left.receive_some, partial(left.receive_into, bytearray(1)):
        with assert_checkpoints(), pytest.raises(trio.ClosedResourceError):
            await receive()
