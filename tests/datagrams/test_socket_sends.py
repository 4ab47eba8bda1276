"""What a datagram socket offers to send, and what it takes for that."""

import socket

import pytest
import trio
from trio.testing import assert_checkpoints, wait_all_tasks_blocked

from triobatch._queues.buffers import Buffers
from triobatch._queues.datagrams import Datagrams


async def test_a_second_sender_is_busy(datagram_pair):
    left, _ = datagram_pair
    left.socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4608)
    queue = Datagrams([(bytes(100), None)] * 1000)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(left.send_batch, queue)
        await wait_all_tasks_blocked()
        left_over = len(queue)
        for call in (
            lambda: left.send(b"x"),
            lambda: left.send_many([b"x"]),
            lambda: left.send_batch([]),
            lambda: left.send_segments(b"x", 1),
        ):
            with pytest.raises(trio.BusyResourceError):
                await call()
        with pytest.raises(trio.BusyResourceError):
            left.send_nowait(b"x")
        assert len(queue) == left_over
        nursery.cancel_scope.cancel()


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        (([("text", None)],), TypeError),
        (([(b"x", 7)],), TypeError),
        (([(b"x", ("localhost", 9))],), ValueError),
        (([b"x"],), TypeError),
        ((7,), TypeError),
    ],
)
async def test_a_mistake_is_told_before_anything_is_sent(
    datagram_pair, arguments, error
):
    left, right = datagram_pair
    with pytest.raises(error):
        await left.send_batch([(b"first", None), *arguments[0]])
    with pytest.raises(trio.WouldBlock):
        right.receive_nowait()


async def test_segments_have_a_size(datagram_pair):
    with pytest.raises(ValueError, match=r"in 1..65535, not 0"):
        await datagram_pair[0].send_segments(b"x", 0)
    with pytest.raises(TypeError):
        await datagram_pair[0].send_segments("text", 1)
    with pytest.raises(TypeError, match="must be a Datagrams"):
        datagram_pair[0].send_batch_nowait([(b"x", None)])


async def test_buffers_are_one_datagram(datagram_pair):
    left, right = datagram_pair
    buffers = Buffers([b"%d," % i for i in range(2000)])
    size = buffers.nbytes
    with assert_checkpoints():
        await left.send(buffers)
    assert buffers.nbytes == 0
    payload, _ = await right.receive()
    assert len(payload) == size


async def test_buffers_that_are_too_large_are_not_consumed(make_socket):
    sender = await make_socket()
    buffers = Buffers([bytes(40000), bytes(25508)])
    with pytest.raises(OSError, match="too long"):
        await sender.send(buffers, ("127.0.0.1", 9))
    assert buffers.nbytes == 65508
