from __future__ import annotations

import array
import errno
import mmap
import os

import pytest
import trio
from helpers import exports_lock
from trio.testing import assert_checkpoints, wait_all_tasks_blocked

from triobatch import Buffers
from triobatch._core import calls
from triobatch._core.chunks import IOV_MAX
from triobatch.testing import os_error

# receive_some


async def test_receive_some_takes_what_is_there(pair):
    left, right = pair
    await left.send_all(b"abcdef")
    with assert_checkpoints():
        assert await right.receive_some(4) == b"abcd"
    with assert_checkpoints():
        assert await right.receive_some() == b"ef"


@pytest.mark.parametrize("size", [0, -1])
async def test_receive_some_needs_room_for_a_byte(pair, size):
    with pytest.raises(ValueError, match=f"at least 1, not {size}"):
        await pair[0].receive_some(size)


@pytest.mark.parametrize("size", [1.0, "1", b"1"])
async def test_receive_some_wants_an_integer(pair, size):
    with pytest.raises(TypeError, match="max_bytes must be an int, not"):
        await pair[0].receive_some(size)


async def test_receive_some_takes_64_kib_unless_told(pair):
    left, right = pair
    async with trio.open_nursery() as nursery:
        nursery.start_soon(left.send_all, bytes(2**17))
        await wait_all_tasks_blocked()
        assert len(await right.receive_some()) == 2**16
        nursery.cancel_scope.cancel()


async def test_what_looks_ready_and_brings_nothing_does_not_make_it_spin(
    pair, monkeypatch, autojump_clock
):
    left, right = pair
    tries = []
    monkeypatch.setattr(calls, "receive", lambda *_: tries.append(1))
    await left.send_all(b"x")
    with trio.move_on_after(0.2):
        await right.receive_some()
    assert 2 <= len(tries) < 60


# receive_into


@pytest.mark.parametrize(
    "make",
    [
        bytearray,
        lambda size: memoryview(bytearray(size)),
        lambda size: memoryview(bytearray(size + 9))[9:],
        lambda size: mmap.mmap(-1, size),
        lambda size: array.array("B", bytes(size)),
    ],
    ids=["bytearray", "view", "part of a view", "mmap", "array"],
)
async def test_one_buffer_is_filled(pair, make):
    left, right = pair
    buffer = make(4096)
    await left.send_all(b"abc")
    with assert_checkpoints():
        assert await right.receive_into(buffer) == 3
    assert bytes(buffer[:4]) == b"abc\0"


async def test_many_buffers_are_filled_in_order(pair):
    left, right = pair
    buffers = [bytearray(2), bytearray(0), bytearray(1), bytearray(3)]
    await left.send_all(b"abcde")
    assert await right.receive_into(buffers) == 5
    assert buffers == [b"ab", b"", b"c", b"de\0"]


async def test_a_tuple_of_buffers_is_filled(pair):
    left, right = pair
    buffers = bytearray(1), memoryview(bytearray(1))
    await left.send_all(b"ab")
    assert await right.receive_into(buffers) == 2
    assert b"".join(buffers) == b"ab"


async def test_what_does_not_fit_is_left_for_the_next_call(pair):
    left, right = pair
    buffer = bytearray(2)
    await left.send_all(b"abc")
    assert await right.receive_into(buffer) == 2
    assert await right.receive_into(buffer) == 1
    assert buffer == b"cb"


async def test_the_room_of_an_array_is_counted_in_bytes(pair):
    left, right = pair
    numbers = array.array("I", [1, 2, 3])
    await left.send_all(array.array("I", [7, 8]))
    assert await right.receive_into(numbers) == 2 * numbers.itemsize
    assert list(numbers) == [7, 8, 3]


async def test_a_numpy_array_is_filled(pair):
    numpy = pytest.importorskip("numpy")
    left, right = pair
    table = numpy.zeros((2, 2), dtype=">u4")
    await left.send_all(bytes(range(16)))
    assert await right.receive_into(table) == 16
    assert table.tobytes() == bytes(range(16))


@pytest.mark.parametrize("count", [IOV_MAX - 1, IOV_MAX, IOV_MAX + 1])
async def test_of_many_buffers_the_first_iov_max_are_filled(pair, count):
    left, right = pair
    buffers = [bytearray(1) for _ in range(count)]
    await left.send_all(bytes([1]) * (IOV_MAX + 5))
    received = await right.receive_into(buffers)
    assert received == min(count, IOV_MAX)
    assert b"".join(buffers) == b"\1" * received + bytes(count - received)
    assert right.statistics().receive_calls == 1


async def test_empty_buffers_do_not_count_towards_iov_max(pair):
    left, right = pair
    buffer = bytearray(1)
    await left.send_all(b"x")
    empty = bytearray()
    assert await right.receive_into([empty] * IOV_MAX + [buffer]) == 1
    assert buffer == b"x"


async def test_the_end_is_0_bytes_again_and_again(pair):
    left, right = pair
    await left.send_eof()
    for _ in range(2):
        with assert_checkpoints():
            assert await right.receive_into(bytearray(1)) == 0
        with assert_checkpoints():
            assert await right.receive_some() == b""


@pytest.mark.parametrize(
    "no_room", [bytearray(), [], [bytearray()], (), [memoryview(b"")][:0]]
)
async def test_no_room_is_an_error_for_it_would_look_like_the_end(
    pair, no_room
):
    left, right = pair
    await left.send_all(b"x")
    with pytest.raises(ValueError, match="room for at least 1 byte"):
        await right.receive_into(no_room)
    assert await right.receive_some() == b"x"


_STRIDED = memoryview(bytearray(10))[::2]


@pytest.mark.parametrize(
    ("buffers", "error"),
    [
        (b"read-only", TypeError),
        ([bytearray(1), b"read-only"], TypeError),
        (memoryview(bytearray(1)).toreadonly(), TypeError),
        ("text", TypeError),
        (3, TypeError),
        (None, TypeError),
        ([bytearray(1), None], TypeError),
        (_STRIDED, BufferError),
        ([bytearray(1), _STRIDED], BufferError),
    ],
)
async def test_bad_buffers_are_refused_and_nothing_is_received(
    pair, buffers, error
):
    left, right = pair
    await left.send_all(b"x")
    with pytest.raises(error):
        await right.receive_into(buffers)
    assert right.statistics().receive_calls == 0
    if isinstance(buffers, list):
        # It is not exported any more.
        buffers[0].append(1)
        buffers[0].pop()
    assert await right.receive_some() == b"x"


# Waiting, for both


async def receive_some(stream):
    return await stream.receive_some(10)


async def receive_into_one(stream):
    buffer = bytearray(10)
    size = await stream.receive_into(buffer)
    return bytes(buffer[:size])


async def receive_into_many(stream):
    buffers = bytearray(5), bytearray(5)
    size = await stream.receive_into(buffers)
    return b"".join(buffers)[:size]


@pytest.fixture(params=[receive_some, receive_into_one, receive_into_many])
def receive(request):
    """Receive at most 10 bytes."""
    return request.param


async def test_receiving_waits_for_the_peer(pair, receive):
    left, right = pair
    received = []
    async with trio.open_nursery() as nursery:

        @nursery.start_soon
        async def wait():
            with assert_checkpoints():
                received.append(await receive(right))

        await wait_all_tasks_blocked()
        await left.send_all(b"at last")
    assert received == [b"at last"]
    assert right.statistics().receive_waits == 1


async def test_a_receive_that_was_cancelled_before_takes_nothing(
    pair, receive
):
    left, right = pair
    await left.send_all(b"here")
    with trio.CancelScope() as scope:
        scope.cancel()
        await receive(right)
    assert scope.cancelled_caught
    assert await receive(right) == b"here"


async def test_a_receive_that_is_cancelled_while_it_waits_takes_nothing(
    pair, receive
):
    left, right = pair
    async with trio.open_nursery() as nursery:
        nursery.start_soon(receive, right)
        await wait_all_tasks_blocked()
        nursery.cancel_scope.cancel()
    await left.send_all(b"here")
    assert await receive(right) == b"here"


async def test_data_that_comes_with_the_cancellation_is_not_lost(
    pair, receive
):
    left, right = pair
    received = b""
    with trio.CancelScope() as scope:
        async with trio.open_nursery() as nursery:

            @nursery.start_soon
            async def take():
                nonlocal received
                received += await receive(right)

            await wait_all_tasks_blocked()
            left.send_buffers_nowait(Buffers([b"both"]))
            scope.cancel()
    if not received:
        received = await receive(right)
    assert received == b"both"


async def test_a_second_task_that_waits_to_receive_is_refused(pair, receive):
    _, right = pair
    async with trio.open_nursery() as nursery:
        nursery.start_soon(right.receive_some)
        await wait_all_tasks_blocked()
        with pytest.raises(trio.BusyResourceError):
            await receive(right)
        nursery.cancel_scope.cancel()


async def test_receiving_from_a_closed_stream_fails_each_time(pair, receive):
    _, right = pair
    await right.aclose()
    for _ in range(2):
        with pytest.raises(trio.ClosedResourceError, match="already closed"):
            await receive(right)


async def test_receiving_ends_when_another_task_closes(pair, receive):
    _, right = pair
    async with trio.open_nursery() as nursery:

        @nursery.start_soon
        async def wait():
            with pytest.raises(trio.ClosedResourceError):
                await receive(right)

        await wait_all_tasks_blocked()
        await right.aclose()


async def test_a_reset_breaks_the_stream(pair, family, receive, reset):
    left, right = pair
    if family == "unix":
        # There a peer that leaves data unread resets the connection.
        await right.send_all(b"unread")
    await reset(left)
    await wait_all_tasks_blocked()
    with pytest.raises(trio.BrokenResourceError, match="broken: ") as caught:
        await receive(right)
    assert isinstance(caught.value.__cause__, ConnectionResetError)


async def test_buffers_are_free_again_after_a_reset(pair, reset):
    left, right = pair
    await right.send_all(b"unread")
    await reset(left)
    await wait_all_tasks_blocked()
    buffer = bytearray(4)
    with pytest.raises(trio.BrokenResourceError) as caught:
        await right.receive_into([buffer])
    # The traceback is alive, and the buffer can be resized all the same.
    assert caught.tb is not None
    buffer.append(1)


@exports_lock
async def test_buffers_are_exported_while_a_call_waits(pair):
    _, right = pair
    buffer = bytearray(4)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(right.receive_into, buffer)
        await wait_all_tasks_blocked()
        with pytest.raises(BufferError):
            buffer.append(1)
        nursery.cancel_scope.cancel()
    buffer.append(1)


async def test_a_number_that_was_taken_by_another_is_not_read(
    pair, receive, monkeypatch
):
    # See the same test of sending.
    _, right = pair
    out, into = os.pipe()

    async def wait_while_the_number_is_taken(fd):
        right.socket.close()
        os.dup2(out, fd)
        taken.append(fd)
        await trio.lowlevel.checkpoint()

    taken = []
    os.write(into, b"theirs")
    with monkeypatch.context() as patch:
        patch.setattr(
            trio.lowlevel, "wait_readable", wait_while_the_number_is_taken
        )
        with pytest.raises(trio.ClosedResourceError):
            await receive(right)
    assert os.read(out, 10) == b"theirs"
    for fd in (out, into, *taken):
        os.close(fd)


# What the kernel may answer, from a script


async def test_a_false_alarm_is_waited_out(pair, receive, play):
    left, right = pair
    await left.send_all(b"x")
    play(right, receiving=["EAGAIN", "EAGAIN"])
    assert await receive(right) == b"x"
    assert right.statistics().receive_calls == 3
    assert right.statistics().receive_waits == 2


@pytest.mark.parametrize("number", [errno.EBADF, errno.ENOTSOCK])
async def test_a_descriptor_that_is_none_means_closed(
    pair, receive, play, number
):
    play(pair[0], receiving=[os_error(number)])
    with pytest.raises(trio.ClosedResourceError):
        await receive(pair[0])
