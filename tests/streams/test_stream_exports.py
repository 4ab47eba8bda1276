"""Who holds a chunk, and until when."""

from __future__ import annotations

import gc
import sys
import weakref

import pytest
import trio
from helpers import discard, is_exported
from trio.testing import wait_all_tasks_blocked

from triobatch import Buffers

pytestmark = pytest.mark.skipif(
    sys.implementation.name == "pypy",
    reason="PyPy's views lock nothing, and it frees when it likes",
)

# Copied and pointed to; one and many; and more than any socket takes.
_SHAPES = [(1, 10), (3, 10), (1, 2**23), (16, 2**19), (8000, 1000)]
_LARGE = _SHAPES[2:]


def resize(chunk):
    """Fail with BufferError while ``chunk`` is exported."""
    chunk.append(0)
    chunk.pop()


@pytest.fixture(params=["list", "tuple", "generator"])
def offer(request):
    """Offer chunks in some other form than Buffers."""
    return {
        "list": list,
        "tuple": tuple,
        "generator": lambda chunks: (chunk for chunk in chunks),
    }[request.param]


@pytest.mark.parametrize(("count", "size"), _SHAPES)
async def test_chunks_are_free_when_the_call_returns(pair, offer, count, size):
    left, right = pair
    chunks = [bytearray(size) for _ in range(count)]
    async with trio.open_nursery() as nursery:
        nursery.start_soon(discard, right)
        await left.send_buffers(offer(chunks))
        assert not any(map(is_exported, chunks))
        nursery.cancel_scope.cancel()


@pytest.mark.parametrize("size", [10, 2**23])
async def test_data_is_free_when_send_all_returns(pair, size):
    left, right = pair
    data = bytearray(size)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(discard, right)
        await left.send_all(data)
        assert not is_exported(data)
        nursery.cancel_scope.cancel()


async def end_in_error(stream, chunks, break_off):
    """Send; return the exception, whose traceback keeps every frame."""
    ends = []

    async def send():
        try:
            await stream.send_buffers(chunks)
        except BaseException as error:
            ends.append(error)
            raise

    async with trio.open_nursery() as nursery:

        @nursery.start_soon
        async def break_off_when_blocked():
            await wait_all_tasks_blocked()
            await break_off(nursery)

        try:
            await send()
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            pass
    return ends[0]


@pytest.fixture(params=["cancel", "reset", "close"])
def break_off(request, pair, reset):
    """An async function that ends a send on the first stream of the pair."""
    left, right = pair

    async def end(nursery):
        if request.param == "cancel":
            nursery.cancel_scope.cancel()
        elif request.param == "reset":
            await reset(right)
        else:
            await left.aclose()

    return end


@pytest.mark.parametrize(("count", "size"), _LARGE)
async def test_chunks_are_free_when_the_call_fails(
    pair, offer, break_off, count, size
):
    chunks = [bytearray(size) for _ in range(count)]
    error = await end_in_error(pair[0], offer(chunks), break_off)
    # The traceback is alive, and with it all locals.
    assert error.__traceback__ is not None
    for chunk in chunks:
        resize(chunk)


@pytest.mark.parametrize(("count", "size"), _LARGE)
async def test_buffers_hold_what_was_not_sent_and_nothing_else(
    pair, break_off, count, size
):
    chunks = [bytearray(size) for _ in range(count)]
    buffers = Buffers(chunks)
    error = await end_in_error(pair[0], buffers, break_off)
    assert error.__traceback__ is not None
    assert buffers
    sent = count - len(buffers)
    for chunk in chunks[:sent]:
        resize(chunk)
    for chunk in chunks[sent:]:
        with pytest.raises(BufferError):
            resize(chunk)
    buffers.clear()
    for chunk in chunks:
        resize(chunk)


async def test_chunks_are_let_go_of_while_the_send_goes_on(pair):
    left, _ = pair
    chunks = [bytearray(2**16) for _ in range(200)]
    async with trio.open_nursery() as nursery:
        nursery.start_soon(left.send_buffers, Buffers(chunks))
        await wait_all_tasks_blocked()
        resize(chunks[0])
        with pytest.raises(BufferError):
            resize(chunks[-1])
        nursery.cancel_scope.cancel()


class Chunk(bytearray):
    """One that can be watched."""


async def test_memory_falls_while_the_send_goes_on(pair):
    left, _ = pair
    buffers = Buffers(Chunk(2**16) for _ in range(200))
    first = weakref.ref(next(iter(buffers)).obj)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(left.send_buffers, buffers)
        await wait_all_tasks_blocked()
        gc.collect()
        assert first() is None
        nursery.cancel_scope.cancel()


async def test_what_a_chunk_holds_when_it_is_taken_is_sent(clogged_pair):
    left, right = clogged_pair
    chunk = bytearray(b"before")
    async with trio.open_nursery() as nursery:

        @nursery.start_soon
        async def send():
            await left.send_buffers([chunk])
            await left.send_eof()

        await wait_all_tasks_blocked()
        chunk[:] = b"after!"
        received = b"".join([piece async for piece in right])
    assert received.lstrip(b"x") == b"after!"


# One sender at a time


@pytest.fixture
async def sending(clogged_pair):
    """Buffers that another task is sending, and cannot get rid of."""
    left, _ = clogged_pair
    buffers = Buffers([b"on", b"their", b"way"])
    async with trio.open_nursery() as nursery:
        nursery.start_soon(left.send_buffers, buffers)
        await wait_all_tasks_blocked()
        yield buffers
        nursery.cancel_scope.cancel()


async def test_buffers_cannot_be_sent_on_two_streams_at_once(
    sending, make_streams
):
    other, _ = await make_streams()
    with pytest.raises(trio.BusyResourceError, match="these buffers"):
        await other.send_buffers(sending)
    assert other.statistics().bytes_sent == 0
    # It was the buffers that were busy, not the stream.
    await other.send_buffers([b"free"])


@pytest.mark.parametrize(
    ("method", "argument"),
    [("consume", 1), ("read", 1), ("readinto", bytearray(1))],
)
async def test_buffers_cannot_be_consumed_under_way(sending, method, argument):
    with pytest.raises(BufferError, match="being sent"):
        getattr(sending, method)(argument)
    assert sending.nbytes == 10


async def test_buffers_cannot_be_cleared_under_way(sending):
    with pytest.raises(BufferError, match="being sent"):
        sending.clear()
    assert bytes(sending) == b"ontheirway"


async def test_buffers_can_be_looked_at_and_copied_under_way(sending):
    assert list(sending) == [b"on", b"their", b"way"]
    twin = sending.copy()
    twin.clear()
    assert bytes(sending) == b"ontheirway"


async def test_buffers_can_be_consumed_after_a_cancelled_send(clogged_pair):
    left, _ = clogged_pair
    buffers = Buffers([b"a", b"b"])
    async with trio.open_nursery() as nursery:
        nursery.start_soon(left.send_buffers, buffers)
        await wait_all_tasks_blocked()
        nursery.cancel_scope.cancel()
    assert buffers.read() == b"ab"


async def test_chunks_appended_under_way_go_out_after_pointed_ones(pair):
    left, right = pair
    buffers = Buffers([b"\1" * 2**22, b"\2" * 2**22])
    async with trio.open_nursery() as nursery:

        @nursery.start_soon
        async def send():
            assert await left.send_buffers(buffers) == 2**23 + 6
            await left.send_eof()

        await wait_all_tasks_blocked()
        buffers.extend([b"\3", bytearray(b"\4" * 5)])
        received = b"".join([piece async for piece in right])
    expected = b"\1" * 2**22 + b"\2" * 2**22 + b"\3" + b"\4" * 5
    assert received == expected
