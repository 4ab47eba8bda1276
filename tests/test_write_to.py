"""``Buffers.write_to`` for streams and pipes."""

from __future__ import annotations

import os

import pytest
import trio
from helpers import is_exported
from trio.testing import (
    assert_checkpoints,
    memory_stream_pair,
    wait_all_tasks_blocked,
)

from triobatch import Buffers, _write_to
from triobatch._core.chunks import IOV_MAX

fcntl = pytest.importorskip("fcntl")

# Linux's page, and so the least that a pipe holds.
PIPE_SIZE = 4096


@pytest.fixture
async def pipe():
    """The two ends of a pipe that holds 4 KiB."""
    if not hasattr(fcntl, "F_SETPIPE_SZ"):
        pytest.skip("the size of a pipe is Linux's to set")
    reader, writer = map(trio.lowlevel.FdStream, os.pipe())
    fcntl.fcntl(writer.fileno(), fcntl.F_SETPIPE_SZ, PIPE_SIZE)
    yield reader, writer
    reader.close()
    writer.close()


async def read_to_end(stream):
    return b"".join([data async for data in stream])


def read_pipe(stream):
    """Read what a pipe holds."""
    return os.read(stream.fileno(), 1_000_000)


async def test_a_batch_stream_gathers(pair):
    left, right = pair
    buffers = Buffers([b"ab", b"cd"] * 100)
    with assert_checkpoints():
        assert await buffers.write_to(left) == 400
    assert not buffers
    assert left.statistics().send_calls == 1
    assert await right.receive_some() == b"abcd" * 100


async def test_a_batch_stream_keeps_what_was_not_sent(clogged_pair):
    left, _ = clogged_pair
    buffers = Buffers([b"unsent"])
    async with trio.open_nursery() as nursery:
        nursery.start_soon(buffers.write_to, left)
        await wait_all_tasks_blocked()
        nursery.cancel_scope.cancel()
    assert bytes(buffers) == b"unsent"


async def test_a_memory_stream_gets_it_all():
    left, right = memory_stream_pair()
    buffers = Buffers([b"x" * 1000] * 100)
    with assert_checkpoints():
        assert await buffers.write_to(left) == 100_000
    await left.send_eof()
    assert await read_to_end(right) == b"x" * 100_000


@pytest.mark.parametrize(
    "target", [None, 1, b"", [], "name", object(), os, trio.Event]
)
async def test_anything_else_is_refused(target):
    buffers = Buffers([b"kept"])
    with pytest.raises(TypeError, match="target must be a stream,"):
        await buffers.write_to(target)
    assert bytes(buffers) == b"kept"


async def test_a_stream_that_only_receives_is_refused():
    _, receiver = trio.testing.memory_stream_one_way_pair()
    with pytest.raises(TypeError, match="target must be a stream,"):
        await Buffers([b"kept"]).write_to(receiver)


async def test_a_pipe_takes_what_fits_with_one_call(pipe, monkeypatch):
    reader, writer = pipe
    calls = count_calls(monkeypatch)
    buffers = Buffers([b"%4d" % i for i in range(IOV_MAX)])
    content = bytes(buffers)
    assert len(content) == PIPE_SIZE
    with assert_checkpoints():
        assert await buffers.write_to(writer) == PIPE_SIZE
    assert calls == [PIPE_SIZE]
    assert not buffers
    assert read_pipe(reader) == content


def count_calls(monkeypatch):
    """Return a list to which every call of writev adds what it wrote."""
    calls = []
    system_call = _write_to.writev

    def writev(fd, buffers):
        written = system_call(fd, buffers)
        calls.append(written)
        return written

    monkeypatch.setattr(_write_to, "writev", writev)
    return calls


async def test_more_chunks_than_a_call_takes_go_through_a_pipe(
    pipe, monkeypatch
):
    reader, writer = pipe
    calls = count_calls(monkeypatch)
    buffers = Buffers([b"x"] * (2 * IOV_MAX + 1))
    assert await buffers.write_to(writer) == 2 * IOV_MAX + 1
    assert calls == [IOV_MAX, IOV_MAX, 1]
    assert read_pipe(reader) == b"x" * (2 * IOV_MAX + 1)


@pytest.mark.parametrize("chunk_size", [1, 1000, PIPE_SIZE, 100_000])
async def test_a_full_pipe_is_waited_for(pipe, chunk_size):
    reader, writer = pipe
    content = bytes(range(256)) * 400
    buffers = Buffers(
        memoryview(content)[start : start + chunk_size]
        for start in range(0, len(content), chunk_size)
    )
    async with trio.open_nursery() as nursery:

        @nursery.start_soon
        async def write():
            with assert_checkpoints():
                assert await buffers.write_to(writer) == len(content)
            writer.close()

        assert await read_to_end(reader) == content
    assert not buffers


async def test_a_pipe_and_no_bytes_is_a_checkpoint(pipe):
    reader, writer = pipe
    with assert_checkpoints():
        assert await Buffers().write_to(writer) == 0
    with pytest.raises(BlockingIOError):
        read_pipe(reader)


async def test_cancelled_at_a_full_pipe_the_buffers_hold_the_rest(pipe):
    reader, writer = pipe
    content = bytes(range(256)) * 100
    buffers = Buffers([content[:5000], content[5000:5001], content[5001:]])
    received = b""
    for _ in range(3):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(buffers.write_to, writer)
            await wait_all_tasks_blocked()
            nursery.cancel_scope.cancel()
        received += read_pipe(reader)
        assert received + bytes(buffers) == content
    async with trio.open_nursery() as nursery:

        @nursery.start_soon
        async def write_the_rest():
            assert await buffers.write_to(writer) == len(content) - len(
                received
            )
            writer.close()

        received += await read_to_end(reader)
    assert received == content


async def test_cancelled_before_the_start_a_pipe_gets_nothing(pipe):
    reader, writer = pipe
    buffers = Buffers([b"kept"])
    with trio.CancelScope() as scope:
        scope.cancel()
        await buffers.write_to(writer)
    assert scope.cancelled_caught
    assert bytes(buffers) == b"kept"
    with pytest.raises(BlockingIOError):
        read_pipe(reader)


async def test_a_closed_pipe_is_found(pipe):
    _, writer = pipe
    writer.close()
    buffers = Buffers([b"kept"])
    with pytest.raises(trio.ClosedResourceError):
        await buffers.write_to(writer)
    with pytest.raises(trio.ClosedResourceError):
        await Buffers().write_to(writer)
    assert bytes(buffers) == b"kept"


async def test_a_pipe_closed_by_another_task_keeps_the_rest(pipe):
    reader, writer = pipe
    content = bytes(range(256)) * 100
    buffers = Buffers([content])
    async with trio.open_nursery() as nursery:

        @nursery.start_soon
        async def write():
            with pytest.raises(trio.ClosedResourceError):
                await buffers.write_to(writer)

        await wait_all_tasks_blocked()
        writer.close()
    assert read_pipe(reader) + bytes(buffers) == content


async def test_a_pipe_closed_just_before_the_first_write_is_found(pipe):
    _, writer = pipe
    buffers = Buffers([b"kept"])
    async with trio.open_nursery() as nursery:

        @nursery.start_soon
        async def write():
            with pytest.raises(trio.ClosedResourceError):
                await buffers.write_to(writer)

        # The task is in its first checkpoint, or has yet to start.
        nursery.start_soon(writer.aclose)
    assert bytes(buffers) == b"kept"


async def test_a_pipe_without_a_reader_is_broken(pipe):
    reader, writer = pipe
    reader.close()
    buffers = Buffers([b"kept"])
    with pytest.raises(trio.BrokenResourceError) as caught:
        await buffers.write_to(writer)
    assert isinstance(caught.value.__cause__, BrokenPipeError)
    assert bytes(buffers) == b"kept"


async def test_a_reader_that_goes_away_breaks_the_pipe(pipe):
    reader, writer = pipe
    content = bytes(range(256)) * 100
    buffers = Buffers([content[:PIPE_SIZE], content[PIPE_SIZE:]])
    async with trio.open_nursery() as nursery:

        @nursery.start_soon
        async def write():
            with pytest.raises(trio.BrokenResourceError):
                await buffers.write_to(writer)

        await wait_all_tasks_blocked()
        reader.close()
    assert bytes(buffers) == content[PIPE_SIZE:]


async def test_a_second_write_to_a_pipe_is_busy(pipe):
    reader, writer = pipe
    first, second = Buffers([b"1" * 5000]), Buffers([b"2"])
    async with trio.open_nursery() as nursery:
        nursery.start_soon(first.write_to, writer)
        await wait_all_tasks_blocked()
        read_pipe(reader)
        # It would fit now, and land in the middle of the first.
        with pytest.raises(trio.BusyResourceError):
            await second.write_to(writer)
    assert read_pipe(reader) == b"1" * (5000 - PIPE_SIZE)
    assert bytes(second) == b"2"


async def test_send_all_while_write_to_waits_is_busy(pipe):
    reader, writer = pipe
    buffers = Buffers([b"1" * 5000])
    async with trio.open_nursery() as nursery:
        nursery.start_soon(buffers.write_to, writer)
        await wait_all_tasks_blocked()
        read_pipe(reader)
        # It would fit now, and land in the middle of the first.
        with pytest.raises(trio.BusyResourceError):
            await writer.send_all(b"2")
    assert read_pipe(reader) == b"1" * (5000 - PIPE_SIZE)


async def test_write_to_while_send_all_waits_is_busy(pipe):
    reader, writer = pipe
    buffers = Buffers([b"kept"])
    async with trio.open_nursery() as nursery:
        nursery.start_soon(writer.send_all, b"1" * 5000)
        await wait_all_tasks_blocked()
        with pytest.raises(trio.BusyResourceError):
            await buffers.write_to(writer)
        read_pipe(reader)
    assert bytes(buffers) == b"kept"


async def test_write_to_never_comes_into_the_midst_of_a_send_all(pipe):
    # There is room in the pipe, but the other task has not woken up yet.
    reader, writer = pipe
    async with trio.open_nursery() as nursery:
        nursery.start_soon(writer.send_all, b"a" * (3 * PIPE_SIZE))
        await wait_all_tasks_blocked()
        read_pipe(reader)
        with pytest.raises(trio.BusyResourceError):
            await Buffers([b"b"]).write_to(writer)
        nursery.cancel_scope.cancel()


async def test_buffers_on_their_way_into_a_pipe_are_busy(pipe):
    reader, writer = pipe
    buffers = Buffers([b"1" * 5000])
    async with trio.open_nursery() as nursery:
        nursery.start_soon(buffers.write_to, writer)
        await wait_all_tasks_blocked()
        left, _ = memory_stream_pair()
        with pytest.raises(trio.BusyResourceError):
            await buffers.write_to(left)
        with pytest.raises(BufferError):
            buffers.consume(1)
        read_pipe(reader)


async def test_chunks_appended_meanwhile_go_into_the_pipe_too(pipe):
    reader, writer = pipe
    buffers = Buffers([b"1" * 5000])
    async with trio.open_nursery() as nursery:
        nursery.start_soon(buffers.write_to, writer)
        await wait_all_tasks_blocked()
        buffers.append(b"2")
        read_pipe(reader)
    assert read_pipe(reader) == b"1" * (5000 - PIPE_SIZE) + b"2"


async def test_a_mutable_chunk_is_free_again_once_the_pipe_took_it(pipe):
    _, writer = pipe
    chunk = bytearray(100)
    await Buffers([chunk]).write_to(writer)
    assert not is_exported(chunk)


async def test_a_datagram_socket_gets_one_datagram(datagram_pair):
    left, right = datagram_pair
    buffers = Buffers([b"%d," % i for i in range(10)])
    with assert_checkpoints():
        assert await buffers.write_to(left) == 20
    assert not buffers
    assert await right.receive() == (b"0,1,2,3,4,5,6,7,8,9,", None)


async def test_nothing_is_no_datagram(datagram_pair):
    left, right = datagram_pair
    with assert_checkpoints():
        assert await Buffers().write_to(left) == 0
    with pytest.raises(trio.WouldBlock):
        right.receive_nowait()


async def test_nothing_is_not_written_to_a_closed_datagram_socket(
    datagram_pair,
):
    left, _ = datagram_pair
    await left.aclose()
    with pytest.raises(trio.ClosedResourceError):
        await Buffers().write_to(left)
