from __future__ import annotations

import dataclasses
import socket as stdlib_socket
import sys

import pytest
import trio
from trio import socket as tsocket
from trio.testing import assert_checkpoints, wait_all_tasks_blocked

from triobatch import BatchSocketStream, Buffers, StreamStatistics


class FakeSocket(tsocket.SocketType):
    """As Trio's own tests have it: no descriptor, no kernel."""

    type = tsocket.SOCK_STREAM
    did_shutdown_SHUT_WR = False  # noqa: N815 (Trio's name)

    def __init__(self, error=None):
        self.options = []
        self._error = error

    def setsockopt(self, *args):
        if self._error is not None:
            raise self._error
        self.options.append(args)


# The constructor


@pytest.mark.parametrize("other", [object(), None, 3])
def test_only_a_trio_socket_is_wrapped(other):
    with pytest.raises(TypeError, match="socket must be a Trio socket, not"):
        BatchSocketStream(other)


def test_a_standard_socket_is_refused():
    with (
        stdlib_socket.socket() as sock,
        pytest.raises(TypeError, match="socket must be a Trio socket, not"),
    ):
        BatchSocketStream(sock)


async def test_a_datagram_socket_is_refused():
    with (
        tsocket.socket(type=tsocket.SOCK_DGRAM) as sock,
        pytest.raises(ValueError, match="socket must be a SOCK_STREAM, not"),
    ):
        BatchSocketStream(sock)


def test_a_fake_socket_without_a_descriptor_is_wrapped():
    fake = FakeSocket()
    assert BatchSocketStream(fake).socket is fake
    assert (tsocket.IPPROTO_TCP, tsocket.TCP_NODELAY, True) in fake.options
    assert (
        tsocket.IPPROTO_TCP,
        tsocket.TCP_NOTSENT_LOWAT,
        2**14,
    ) in fake.options


@pytest.mark.parametrize(
    "operation",
    [
        lambda stream: stream.send_buffers([b"a", b"b"]),
        lambda stream: stream.send_buffers(Buffers([b"a"])),
        lambda stream: stream.send_all(b"a"),
        lambda stream: stream.send_all(b""),
        lambda stream: stream.wait_send_all_might_not_block(),
        lambda stream: stream.receive_some(),
        lambda stream: stream.receive_into(bytearray(1)),
    ],
)
async def test_a_socket_without_a_descriptor_cannot_be_used(operation):
    stream = BatchSocketStream(FakeSocket())
    with pytest.raises(TypeError, match="file descriptor, which FakeSocket"):
        await operation(stream)
    buffers = Buffers([b"a"])
    with pytest.raises(TypeError, match="file descriptor, which FakeSocket"):
        stream.send_buffers_nowait(buffers)
    assert bytes(buffers) == b"a"


def test_a_socket_without_the_options_is_wrapped():
    fake = FakeSocket(OSError(95, "Operation not supported"))
    assert BatchSocketStream(fake).socket is fake


def test_other_errors_of_setsockopt_are_let_out():
    # Trio's own test of this: Ctrl-C while a connection is being opened.
    with pytest.raises(KeyboardInterrupt):
        BatchSocketStream(FakeSocket(KeyboardInterrupt()))


async def test_small_pieces_leave_at_once(pair, family):
    if family == "unix":
        pytest.skip("TCP_NODELAY is TCP's")
    for stream in pair:
        assert stream.getsockopt(tsocket.IPPROTO_TCP, tsocket.TCP_NODELAY)


# What it counts as


async def test_it_passes_where_a_socket_stream_is_asked_for(pair):
    # httpcore asserts this of what open_tcp_stream gave it.
    assert isinstance(pair[0], trio.SocketStream)
    assert issubclass(BatchSocketStream, trio.SocketStream)
    assert isinstance(pair[0], trio.abc.HalfCloseableStream)


def test_nothing_else_comes_to_pass_as_a_socket_stream():
    assert not issubclass(trio.abc.HalfCloseableStream, trio.SocketStream)
    assert not isinstance(object(), trio.SocketStream)


def test_it_has_all_that_a_socket_stream_has():
    public = {name for name in dir(trio.SocketStream) if name[0] != "_"}
    assert public <= set(dir(BatchSocketStream))


def test_it_can_be_subclassed():
    class Loud(BatchSocketStream):
        pass

    assert issubclass(Loud, trio.SocketStream)


async def test_it_can_be_stapled(pair):
    left, right = pair
    stapled = trio.StapledStream(left, right)
    await stapled.send_all(b"through")
    assert await stapled.receive_some() == b"through"


# Options


async def test_options_are_set_and_read_as_on_the_socket(pair):
    left, _ = pair
    left.setsockopt(tsocket.SOL_SOCKET, tsocket.SO_KEEPALIVE, 1)
    assert left.getsockopt(tsocket.SOL_SOCKET, tsocket.SO_KEEPALIVE)
    assert left.getsockopt(tsocket.SOL_SOCKET, tsocket.SO_KEEPALIVE, 4) == (
        1
    ).to_bytes(4, "little")
    left.setsockopt(tsocket.SOL_SOCKET, tsocket.SO_KEEPALIVE, bytes(4))
    assert not left.socket.getsockopt(tsocket.SOL_SOCKET, tsocket.SO_KEEPALIVE)


async def test_none_as_a_value_needs_a_length(pair):
    with pytest.raises(TypeError, match="None without a length"):
        pair[0].setsockopt(tsocket.SOL_SOCKET, tsocket.SO_KEEPALIVE, None)


async def test_a_length_needs_none_as_a_value(pair):
    with pytest.raises(TypeError, match="must be None when length is given"):
        pair[0].setsockopt(tsocket.SOL_SOCKET, tsocket.SO_KEEPALIVE, 1, 4)


@pytest.mark.skipif(
    sys.implementation.name == "pypy",
    reason="PyPy's setsockopt wants a value",
)
async def test_none_and_a_length_reach_the_kernel(pair):
    # A null pointer is no int: EFAULT.
    with pytest.raises(OSError, match="Bad address"):
        pair[0].setsockopt(tsocket.SOL_SOCKET, tsocket.SO_KEEPALIVE, None, 4)


# Statistics


async def test_statistics_begin_at_zero(pair):
    assert pair[0].statistics() == StreamStatistics(0, 0, 0, 0, 0, 0, 0)


async def test_statistics_are_a_frozen_snapshot(pair):
    left, _ = pair
    before = left.statistics()
    await left.send_all(b"four")
    assert before.bytes_sent == 0
    assert left.statistics().bytes_sent == 4
    with pytest.raises(dataclasses.FrozenInstanceError):
        before.bytes_sent = 3


async def test_statistics_count_both_directions(pair):
    left, right = pair
    await left.send_all(b"four")
    assert await right.receive_some() == b"four"
    assert left.statistics() == StreamStatistics(4, 1, 0, 0, 0, 0, 0)
    assert right.statistics() == StreamStatistics(0, 0, 0, 0, 4, 1, 0)


async def test_statistics_count_waits_and_the_calls_that_found_nothing(pair):
    left, right = pair
    async with trio.open_nursery() as nursery:
        nursery.start_soon(right.receive_some)
        await wait_all_tasks_blocked()
        await left.send_all(b"x")
    assert right.statistics() == StreamStatistics(0, 0, 0, 0, 1, 2, 1)


async def test_statistics_count_calls_that_found_no_room(clogged_pair):
    left, _ = clogged_pair
    async with trio.open_nursery() as nursery:
        nursery.start_soon(left.send_all, b"no room")
        await wait_all_tasks_blocked()
        assert left.statistics() == StreamStatistics(0, 1, 0, 1, 0, 0, 0)
        nursery.cancel_scope.cancel()


async def test_statistics_count_short_writes(pair):
    left, _ = pair
    buffers = Buffers([bytes(2**24)])
    async with trio.open_nursery() as nursery:
        nursery.start_soon(left.send_buffers, buffers)
        await wait_all_tasks_blocked()
        statistics = left.statistics()
        assert statistics.bytes_sent == 2**24 - buffers.nbytes
        assert statistics.partial_writes >= 1
        assert statistics.send_waits >= 1
        # Nothing was taken whole.
        assert statistics.send_calls <= (
            statistics.partial_writes + statistics.send_waits
        )
        nursery.cancel_scope.cancel()


# Waiting


async def test_waiting_to_send_returns_when_there_is_room(pair):
    with assert_checkpoints():
        await pair[0].wait_send_all_might_not_block()
    assert pair[0].send_buffers_nowait(Buffers([b"x"])) == 1


async def test_waiting_to_send_waits_for_the_peer(clogged_pair):
    left, right = clogged_pair
    async with trio.open_nursery() as nursery:

        @nursery.start_soon
        async def wait():
            await left.wait_send_all_might_not_block()
            nursery.cancel_scope.cancel()

        await wait_all_tasks_blocked()
        assert not nursery.cancel_scope.cancel_called
        async for _ in right:
            pass
    assert nursery.cancel_scope.cancel_called


async def test_waiting_to_send_after_eof_returns(pair):
    await pair[0].send_eof()
    with assert_checkpoints():
        await pair[0].wait_send_all_might_not_block()
    # It is sending that says so.
    with pytest.raises(trio.ClosedResourceError):
        await pair[0].send_all(b"x")


async def test_waiting_to_send_on_a_closed_stream_fails_each_time(pair):
    # wait_writable(-1) in Trio 0.35 would leave a waiter behind, and the
    # second call would get BusyResourceError.
    left, _ = pair
    await left.aclose()
    for _ in range(2):
        with pytest.raises(trio.ClosedResourceError, match="already closed"):
            await left.wait_send_all_might_not_block()


async def test_waiting_to_send_ends_when_the_stream_is_closed(clogged_pair):
    left, _ = clogged_pair
    async with trio.open_nursery() as nursery:

        @nursery.start_soon
        async def wait():
            with pytest.raises(trio.ClosedResourceError):
                await left.wait_send_all_might_not_block()

        await wait_all_tasks_blocked()
        await left.aclose()


async def test_waiting_to_send_ends_when_the_connection_breaks(
    clogged_pair, reset
):
    left, right = clogged_pair
    async with trio.open_nursery() as nursery:
        nursery.start_soon(left.wait_send_all_might_not_block)
        await wait_all_tasks_blocked()
        await reset(right)
    with pytest.raises(trio.BrokenResourceError):
        await left.send_all(b"x")


# The end of the stream


async def test_the_peer_sees_the_end(pair):
    left, right = pair
    await left.send_buffers([b"last", b" words"])
    with assert_checkpoints():
        await left.send_eof()
    assert b"".join([piece async for piece in right]) == b"last words"


async def test_eof_may_be_sent_twice(pair):
    for _ in range(2):
        with assert_checkpoints():
            await pair[0].send_eof()
    assert await pair[1].receive_some() == b""


async def test_a_cancelled_eof_is_not_sent(pair):
    left, right = pair
    with trio.CancelScope() as scope:
        scope.cancel()
        await left.send_eof()
    assert scope.cancelled_caught
    await left.send_all(b"more")
    assert await right.receive_some() == b"more"


async def test_eof_on_a_closed_stream(pair):
    await pair[0].aclose()
    with pytest.raises(trio.ClosedResourceError):
        await pair[0].send_eof()


async def test_eof_on_a_broken_stream(pair, family, reset):
    left, right = pair
    if family == "unix":
        pytest.skip("shutdown(2) of a Unix socket succeeds")
    await reset(right)
    await wait_all_tasks_blocked()
    with pytest.raises(trio.BrokenResourceError, match="broken: ") as caught:
        await left.send_eof()
    assert isinstance(caught.value.__cause__, OSError)


async def test_closing_is_a_checkpoint_each_time(pair):
    for _ in range(2):
        with assert_checkpoints():
            await pair[0].aclose()
    assert pair[0].socket.fileno() == -1


async def test_a_cancelled_close_closes(pair):
    with trio.CancelScope() as scope:
        scope.cancel()
        await pair[0].aclose()
    assert scope.cancelled_caught
    assert pair[0].socket.fileno() == -1


async def test_it_closes_at_the_end_of_a_with_block(pair):
    async with pair[0] as left:
        pass
    assert left.socket.fileno() == -1
