"""The socket as an object: construction, checkpoints, closing."""

import socket

import pytest
import trio
from helpers import address_of
from trio.testing import assert_checkpoints

from triobatch._datagrams.socket import DatagramSocket


async def test_only_a_trio_datagram_socket_will_do():
    with (
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as plain,
        pytest.raises(TypeError, match="must be a Trio socket"),
    ):
        DatagramSocket(plain)
    with (
        trio.socket.socket(socket.AF_INET, socket.SOCK_STREAM) as stream,
        pytest.raises(ValueError, match="must be a SOCK_DGRAM"),
    ):
        DatagramSocket(stream)


async def test_every_method_is_a_checkpoint(make_socket):
    receiver, sender = await make_socket(), await make_socket()
    target, source = (s.socket.getsockname() for s in (receiver, sender))
    arrived = [b"x", b"x", b"y", b"xy", b"z"]
    for call, result in (
        (lambda: sender.send(b"x", target), None),
        (lambda: sender.send_batch([]), 0),
        (lambda: sender.send_batch([(b"x", target)]), 1),
        (lambda: sender.send_many([], target), 0),
        (lambda: sender.send_many([b"x", b"y"], target), 2),
        (lambda: sender.send_segments(b"xyz", 2, target), 2),
        (receiver.receive, (b"x", source)),
        (receiver.receive_batch, [(payload, source) for payload in arrived]),
    ):
        with assert_checkpoints():
            assert await call() == result
    await sender.send(b"again", target)
    with assert_checkpoints():
        (message,) = await receiver.receive_messages()
    assert message.payload == b"again"
    with assert_checkpoints():
        await sender.aclose()


async def test_a_cancelled_call_does_nothing(make_socket):
    receiver, sender = await make_socket(), await make_socket()
    target = receiver.socket.getsockname()
    for call in (
        lambda: sender.send(b"x", target),
        lambda: sender.send_batch([(b"x", target)]),
        lambda: sender.send_many([b"x", b"y"], target),
        lambda: sender.send_segments(b"xyz", 2, target),
    ):
        with trio.CancelScope() as scope:
            scope.cancel()
            await call()
        assert scope.cancelled_caught
    with pytest.raises(trio.WouldBlock):
        receiver.receive_nowait()


async def test_closing_is_done_even_if_it_is_cancelled(make_socket):
    sock = await make_socket()
    with trio.CancelScope() as scope:
        scope.cancel()
        await sock.aclose()
    assert sock.socket.fileno() == -1
    await sock.aclose()
    for call in (
        lambda: sock.send(b"x", ("127.0.0.1", 9)),
        lambda: sock.send_batch([]),
        lambda: sock.send_many([], None),
        sock.receive_messages,
    ):
        with pytest.raises(trio.ClosedResourceError):
            await call()


async def test_what_the_kernel_dropped_is_known_after_closing(make_socket):
    sender, receiver = await make_socket(), await make_socket()
    receiver.socket.setsockopt(
        trio.socket.SOL_SOCKET, trio.socket.SO_RCVBUF, 1
    )
    await sender.send_many([bytes(1000)] * 100, address_of(receiver))
    dropped = receiver.statistics().kernel_drops
    assert dropped is None or dropped > 0
    await receiver.aclose()
    assert receiver.statistics().kernel_drops == dropped
    # Also where somebody closes the socket itself.
    sender.statistics()
    sender.socket.close()
    assert sender.statistics().kernel_drops in {None, 0}
