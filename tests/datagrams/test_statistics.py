"""What a datagram socket tells about itself."""

import socket

import pytest
import trio
from helpers import address_of
from needs import needs_drops

import triobatch
from triobatch._core.probes import has_gro


@needs_drops
async def test_a_kernel_drop_is_counted(make_socket):
    receiver, sender = await make_socket(), await make_socket()
    receiver.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4608)
    for _ in range(20):
        await sender.send(bytes(1000), address_of(receiver))
    got = len(await receiver.receive_batch())
    assert receiver.statistics().kernel_drops == 20 - got > 0


async def receive_one(sock):
    await sock.receive()


async def take_one_batch(sock):
    async for _ in sock.batches(max_datagrams=1):
        break


async def serve_one_batch(sock):
    with trio.CancelScope() as scope:

        async def stop(datagrams, answering):
            # Before the next one is handed out.
            scope.cancel()

        await triobatch.serve_datagrams(stop, [sock], max_datagrams=1)


@pytest.mark.parametrize(
    "take", [receive_one, take_one_batch, serve_one_batch]
)
async def test_what_came_and_was_not_taken_is_counted_all_the_same(
    datagram_pair, take
):
    left, right = datagram_pair
    await left.send_many([b"one", b"two", b"three"])
    with trio.fail_after(60):
        await take(right)
    assert right.statistics().datagrams_received == 3
    if take is not serve_one_batch:
        assert len(await right.receive_batch()) == 2
    assert right.statistics().datagrams_received == 3


@pytest.mark.skipif(not has_gro(), reason="needs UDP_GRO")
async def test_a_train_that_the_kernel_drops_counts_as_one(make_socket):
    receiver, sender = await make_socket(), await make_socket()
    receiver.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 20000)
    for _ in range(20):
        await sender.send_segments(bytes(10000), 1000, address_of(receiver))
    got = len(await receiver.receive_batch(200))
    assert got % 10 == 0
    assert receiver.statistics().kernel_drops == 20 - got // 10 > 0
