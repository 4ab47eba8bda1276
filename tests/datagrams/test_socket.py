"""The socket as an object: construction, checkpoints, closing."""

import os
import platform
import socket
import sys

import pytest
import trio
from helpers import address_of
from needs import needs_unix_sockets
from trio.testing import assert_checkpoints

from triobatch._datagrams.open import open_udp_socket
from triobatch._datagrams.run import Run
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


async def receive_runs(sock):
    async with sock.receive_runs():
        pass


TARGET = ("127.0.0.1", 9)
CALLS = {
    "send": lambda sock: sock.send(b"x", TARGET),
    "send empty": lambda sock: sock.send(b"", TARGET),
    "send_batch": lambda sock: sock.send_batch([(b"x", TARGET)] * 2),
    "send_batch mixed": lambda sock: sock.send_batch(
        [(b"x", TARGET), (b"xy", TARGET)]
    ),
    "send_many": lambda sock: sock.send_many([b"x"] * 2, TARGET),
    "send_segments": lambda sock: sock.send_segments(b"xyz", 2, TARGET),
    "send_runs": lambda sock: sock.send_runs([Run(b"xyz", 2)], TARGET),
    "receive": lambda sock: sock.receive(),
    "receive_batch": lambda sock: sock.receive_batch(),
    "receive_messages": lambda sock: sock.receive_messages(),
    "receive_runs": receive_runs,
    "batches": lambda sock: sock.batches().__anext__(),
}


@pytest.mark.parametrize("name", CALLS)
@pytest.mark.parametrize("trouble", ["closed", "EBADF", "ENOSYS"])
async def test_every_error_of_the_socket_is_behind_a_checkpoint(
    make_socket, play, name, trouble
):
    # Or a loop that goes on after it would be all that runs.
    sock = await make_socket()
    if trouble == "closed":
        await sock.aclose()
    elif name.startswith("send"):
        play(sock, sending=[trouble])
    else:
        play(sock, receiving=[trouble])
    errors = OSError, trio.ClosedResourceError
    with assert_checkpoints(), pytest.raises(errors):
        await CALLS[name](sock)
    if trouble != "closed":
        # Nobody is taken to be sending or receiving still.
        sock.send_nowait(b"x", sock.local_address)
        assert sock.receive_nowait() == (b"x", sock.local_address)


@pytest.mark.skipif(sys.platform != "linux", reason="needs an error queue")
async def test_a_closed_socket_says_so_of_its_errors_behind_a_checkpoint(
    make_socket,
):
    sock = await make_socket(error_queue=True)
    await sock.aclose()
    with assert_checkpoints(), pytest.raises(trio.ClosedResourceError):
        await sock.receive_errors()


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


async def test_options_are_set_and_returned():
    async with await open_udp_socket() as sock:
        option = socket.SOL_SOCKET, socket.SO_RCVBUF
        sock.setsockopt(*option, 100_000)
        assert sock.getsockopt(*option) == 200_000
        sock.setsockopt(*option, (50_000).to_bytes(4, sys.byteorder))
        assert sock.getsockopt(*option, 4) == (100_000).to_bytes(
            4, sys.byteorder
        )
        with pytest.raises(TypeError, match="without a length"):
            sock.setsockopt(*option, None)
        with pytest.raises(TypeError, match="when length is given"):
            sock.setsockopt(*option, 1, 4)


@pytest.mark.skipif(sys.platform != "linux", reason="an option of Linux")
@pytest.mark.skipif(
    platform.python_implementation() == "PyPy",
    reason="PyPy's setsockopt wants a value",
)
async def test_an_option_may_have_a_length_and_no_value():
    async with await open_udp_socket() as sock:
        with pytest.raises(OSError, match="nvalid argument"):
            # SO_ATTACH_FILTER, of which the kernel looks at the length first.
            sock.setsockopt(socket.SOL_SOCKET, 26, None, 3)


async def test_it_tells_where_it_is_before_and_after_it_is_bound():
    async with await open_udp_socket(family=socket.AF_INET6) as sock:
        assert sock.local_address[0] == "::"
        # On Windows it is bound at once.
        assert sys.platform == "win32" or sock.local_address[1] == 0
        assert sock.remote_address is None
        await sock.socket.connect(("::1", 9))
        assert sock.local_address[0] == "::1"
        assert sock.remote_address == ("::1", 9, 0, 0)


@needs_unix_sockets
async def test_a_unix_socket_without_a_name_is_nowhere():
    left, right = trio.socket.socketpair(type=trio.socket.SOCK_DGRAM)
    async with DatagramSocket(left) as sock, DatagramSocket(right):
        assert sock.local_address is None
        assert sock.remote_address is None


@pytest.mark.skipif(not hasattr(socket, "AF_NETLINK"), reason="Linux's own")
async def test_a_socket_of_another_family_is_refused():
    with (
        trio.socket.socket(socket.AF_NETLINK, socket.SOCK_DGRAM) as other,
        pytest.raises(ValueError, match="family must be AF_INET"),
    ):
        DatagramSocket(other)


async def test_a_peer_that_cannot_be_asked_for_is_an_error(make_socket):
    sock = await make_socket()
    # Its number is another's by now.
    other = os.open(os.devnull, os.O_RDONLY)
    os.dup2(other, sock.socket.fileno())
    os.close(other)
    with pytest.raises(OSError, match="non-socket"):
        _ = sock.remote_address
