"""A ``Buffers`` is one datagram, however many chunks it has."""

from __future__ import annotations

import errno
import socket

import pytest
import trio
from helpers import exports_lock
from trio.testing import assert_checkpoints, wait_all_tasks_blocked

from triobatch import (
    BatchSocketStream,
    Buffers,
    DatagramError,
    open_udp_socket,
)


@pytest.fixture(params=["udp", "unix"])
async def connected(request, make_socket, datagram_pair):
    """A connected sender, and its receiver."""
    if request.param == "unix":
        for sock in datagram_pair:
            sock.socket.setsockopt(
                socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 20
            )
        yield datagram_pair
        return
    receiver = await make_socket()
    async with await open_udp_socket(
        remote_address=receiver.socket.getsockname()
    ) as sender:
        yield sender, receiver


@pytest.fixture
async def full_pair(datagram_pair):
    """A connected sender that has to wait, its receiver, and a count."""
    left, right = datagram_pair
    count = left.send_many_nowait([b"filling"] * 1000)
    assert count < 1000
    return left, right, count


def nothing_comes(sock):
    with pytest.raises(trio.WouldBlock):
        sock.receive_nowait()


@pytest.mark.parametrize("count", [1, 2, 1023, 1024, 1025, 3000])
async def test_chunks_are_one_datagram_however_many(connected, count):
    sender, receiver = connected
    buffers = Buffers([b"%4d" % i for i in range(count)])
    expected = bytes(buffers)
    with assert_checkpoints():
        assert await buffers.write_to(sender) == 4 * count
    assert not buffers
    assert (await receiver.receive())[0] == expected
    nothing_comes(receiver)
    statistics = sender.statistics()
    assert (statistics.datagrams_sent, statistics.send_calls) == (1, 1)


async def test_what_is_left_of_the_first_chunk_is_sent(connected):
    sender, receiver = connected
    buffers = Buffers([b"abc", bytearray(b"def"), memoryview(b"ghi")])
    buffers.consume(2)
    assert await buffers.write_to(sender) == 7
    assert (await receiver.receive())[0] == b"cdefghi"


async def test_empty_buffers_send_nothing(connected):
    sender, receiver = connected
    for chunks in ([], [b"", b""]):
        with assert_checkpoints():
            assert await Buffers(chunks).write_to(sender) == 0
    nothing_comes(receiver)
    assert sender.statistics().datagrams_sent == 0


async def test_what_was_sent_is_not_sent_again(connected):
    sender, receiver = connected
    buffers = Buffers([b"once"])
    assert await buffers.write_to(sender) == 4
    assert await buffers.write_to(sender) == 0
    assert (await receiver.receive())[0] == b"once"
    nothing_comes(receiver)


async def test_send_sends_empty_buffers_as_an_empty_datagram(connected):
    sender, receiver = connected
    with assert_checkpoints():
        await sender.send(Buffers())
    assert (await receiver.receive())[0] == b""


@pytest.mark.parametrize("size", [65507, 65508])
async def test_the_largest_datagram_goes_and_a_larger_one_stays(
    make_socket, size
):
    receiver = await make_socket()
    async with await open_udp_socket(
        remote_address=receiver.socket.getsockname()
    ) as sender:
        buffers = Buffers([bytes(size // 3)] * 3 + [bytes(size % 3)])
        chunks = len(buffers)
        if size == 65507:
            assert await buffers.write_to(sender) == size
            assert (await receiver.receive())[0] == bytes(size)
            return
        with assert_checkpoints(), pytest.raises(DatagramError) as info:
            await buffers.write_to(sender)
        assert info.value.errno == errno.EMSGSIZE
        assert (buffers.nbytes, len(buffers)) == (size, chunks)
        nothing_comes(receiver)
        # They can be changed, and sent, again.
        buffers.consume(1)
        assert await buffers.write_to(sender) == size - 1


async def test_too_many_chunks_that_are_too_large_are_not_split(make_socket):
    receiver = await make_socket()
    async with await open_udp_socket(
        remote_address=receiver.socket.getsockname()
    ) as sender:
        buffers = Buffers([bytes(50)] * 1500)
        with pytest.raises(DatagramError, match="too long"):
            await buffers.write_to(sender)
        assert (buffers.nbytes, len(buffers)) == (75_000, 1500)
        nothing_comes(receiver)


async def test_an_unconnected_socket_has_nowhere_to_send_to(make_socket):
    sock = await make_socket()
    buffers = Buffers([b"unsent"])
    with pytest.raises(DatagramError) as info:
        await buffers.write_to(sock)
    assert info.value.errno == errno.EDESTADDRREQ
    assert bytes(buffers) == b"unsent"


@pytest.mark.parametrize("chunks", [[], [b"unsent"]])
async def test_a_closed_socket_keeps_the_buffers(connected, chunks):
    sender, _ = connected
    await sender.aclose()
    buffers = Buffers(chunks)
    with pytest.raises(trio.ClosedResourceError):
        await buffers.write_to(sender)
    assert bytes(buffers) == b"".join(chunks)


@pytest.mark.parametrize("method", ["send", "write_to"])
async def test_buffers_that_wait_are_nobody_elses(full_pair, pair, method):
    left, right, count = full_pair
    stream, _ = pair
    buffers = Buffers([b"wait", b"ing"])
    async with trio.open_nursery() as nursery:
        if method == "send":
            nursery.start_soon(left.send, buffers)
        else:
            nursery.start_soon(buffers.write_to, left)
        await wait_all_tasks_blocked()
        for call in (
            lambda: right.send(buffers),
            lambda: buffers.write_to(right),
            lambda: stream.send_buffers(buffers),
        ):
            with pytest.raises(trio.BusyResourceError, match="these buffers"):
                await call()
        with pytest.raises(trio.BusyResourceError):
            right.send_nowait(buffers)
        with pytest.raises(BufferError):
            buffers.consume(1)
        with pytest.raises(BufferError):
            buffers.clear()
        # They may grow; that is not part of this datagram.
        buffers.append(b"later")
        received = [(await right.receive())[0] for _ in range(count + 1)]
    assert received[-1] == b"waiting"
    assert bytes(buffers) == b"later"


async def test_buffers_in_flight_on_a_stream_are_not_sent(
    clogged_pair, datagram_pair
):
    stream, _ = clogged_pair
    left, right = datagram_pair
    assert isinstance(stream, BatchSocketStream)
    buffers = Buffers([b"streaming"])
    async with trio.open_nursery() as nursery:
        nursery.start_soon(stream.send_buffers, buffers)
        await wait_all_tasks_blocked()
        for call in (
            lambda: left.send(buffers),
            lambda: buffers.write_to(left),
        ):
            with pytest.raises(trio.BusyResourceError):
                await call()
        nursery.cancel_scope.cancel()
    nothing_comes(right)
    # The refusal has not ended the flight of others: now they are free.
    await left.send(buffers)
    assert (await right.receive())[0] == b"streaming"


async def test_buffers_whose_wait_was_cancelled_are_whole(full_pair):
    left, right, count = full_pair
    buffers = Buffers([b"unsent", bytearray(b"bytes")])
    async with trio.open_nursery() as nursery:
        nursery.start_soon(buffers.write_to, left)
        await wait_all_tasks_blocked()
        nursery.cancel_scope.cancel()
    assert bytes(buffers) == b"unsentbytes"
    for _ in range(count):
        await right.receive()
    nothing_comes(right)
    assert await buffers.write_to(left) == 11
    assert (await right.receive())[0] == b"unsentbytes"


async def test_buffers_that_do_not_go_now_are_whole(full_pair):
    left, right, count = full_pair
    buffers = Buffers([b"unsent"])
    with pytest.raises(trio.WouldBlock):
        left.send_nowait(buffers)
    assert bytes(buffers) == b"unsent"
    for _ in range(count):
        await right.receive()
    left.send_nowait(buffers)
    assert not buffers
    assert (await right.receive())[0] == b"unsent"


@exports_lock
async def test_a_sent_chunk_is_released(connected):
    sender, _ = connected
    chunk = bytearray(b"mutable")
    buffers = Buffers([chunk])
    with pytest.raises(BufferError):
        chunk.append(0)
    await buffers.write_to(sender)
    chunk.append(0)


async def test_another_task_that_sends_makes_the_socket_busy(full_pair):
    left, _, _ = full_pair
    buffers = Buffers([b"unsent"])
    async with trio.open_nursery() as nursery:
        nursery.start_soon(left.send, b"waiting")
        await wait_all_tasks_blocked()
        for chunks in (buffers, Buffers()):
            with pytest.raises(trio.BusyResourceError):
                await chunks.write_to(left)
        nursery.cancel_scope.cancel()
    assert bytes(buffers) == b"unsent"
    # The refusal has let go of them.
    buffers.clear()
