"""The socket as an object: construction, guards, closing, opening."""

import gc
import pickle
import socket

import pytest
import trio
from network import namespaces, needs_namespaces
from trio.testing import assert_checkpoints, wait_all_tasks_blocked

from triobatch._core import probes as capabilities
from triobatch._datagrams.errors import (
    DatagramError,
    DatagramErrorGroup,
    TruncatedDatagramError,
)
from triobatch._datagrams.open import _look_up, open_udp_socket
from triobatch._datagrams.socket import DatagramSocket
from triobatch._queues.buffers import Buffers
from triobatch._queues.datagrams import Datagrams


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
        (([b"x"],), ValueError),
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
    with pytest.raises(ValueError, match="at least 1, not 0"):
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


async def test_every_method_is_a_checkpoint(make_socket):
    receiver, sender = await make_socket(), await make_socket()
    target = receiver.socket.getsockname()
    for call in (
        lambda: sender.send(b"x", target),
        lambda: sender.send_batch([]),
        lambda: sender.send_batch([(b"x", target)]),
        lambda: sender.send_many([], target),
        lambda: sender.send_many([b"x", b"y"], target),
        lambda: sender.send_segments(b"xyz", 2, target),
        receiver.receive,
        receiver.receive_batch,
        receiver.receive_messages,
    ):
        if call == receiver.receive_messages:
            await sender.send(b"again", target)
        with assert_checkpoints():
            await call()
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
    assert sock.statistics().kernel_drops is None
    for call in (
        lambda: sock.send(b"x", ("127.0.0.1", 9)),
        lambda: sock.send_batch([]),
        lambda: sock.send_many([], None),
        sock.receive_messages,
    ):
        with pytest.raises(trio.ClosedResourceError):
            await call()


async def test_opening_binds_and_connects():
    async with (
        await open_udp_socket(local_address=("localhost", 0)) as server,
        await open_udp_socket(
            local_address=("127.0.0.1", 0),
            remote_address=server.socket.getsockname()[:2],
            family=socket.AF_INET,
            receive_buffer_size=100_000,
        ) as client,
    ):
        room = client.socket.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF)
        assert room == 200_000
        await client.send(b"hello")
        assert (await server.receive())[0] == b"hello"


async def test_opening_without_addresses_is_for_sending():
    with assert_checkpoints():
        sock = await open_udp_socket()
    async with sock:
        assert sock.socket.family == socket.AF_INET


async def test_a_wildcard_is_bound_for_no_host():
    async with await open_udp_socket(
        local_address=(None, 0), family=socket.AF_INET
    ) as sock:
        assert sock.socket.getsockname()[0] == "0.0.0.0"


async def test_ports_are_shared_on_request():
    async with await open_udp_socket(
        local_address=("127.0.0.1", 0), reuse_port=True
    ) as first:
        name = first.socket.getsockname()
        async with await open_udp_socket(
            local_address=name, reuse_port=True
        ) as second:
            assert second.socket.getsockname() == name
        with pytest.raises(OSError, match="in use"):
            await open_udp_socket(local_address=name)


async def test_opening_fails_where_there_is_nothing_to_open():
    with pytest.raises(OSError, match="no family in common"):
        await open_udp_socket(
            local_address=("127.0.0.1", 0), remote_address=("::1", 9)
        )
    with pytest.raises(ValueError, match="family"):
        await open_udp_socket(family=socket.AF_UNIX)
    with pytest.raises(socket.gaierror):
        await open_udp_socket(remote_address=("::1", 9), family=socket.AF_INET)


def test_errors_survive_pickling():
    error = DatagramError(1, 2, ("127.0.0.1", 3))
    group = DatagramErrorGroup([error], 4)
    for original in (error, TruncatedDatagramError(b"x", None, 5)):
        copy = pickle.loads(pickle.dumps(original))
        assert (str(copy), vars(copy)) == (str(original), vars(original))
    copy = pickle.loads(pickle.dumps(group))
    assert (str(copy), copy.sent) == (str(group), 4)


def test_what_except_star_splits_off_knows_what_was_sent():
    errors = [DatagramError(number, 0, None) for number in (1, 22)]
    group = DatagramErrorGroup(errors, 7)
    matched, rest = group.split(lambda error: error is errors[0])
    assert (matched.sent, rest.sent) == (7, 7)
    assert list(matched.exceptions) == errors[:1]


def test_this_kernel_is_probed():
    assert capabilities.gso_segments() in {1, 63, 64, 128}
    assert isinstance(capabilities.has_gro(), bool)


@needs_namespaces
def test_without_loopback_the_safe_number_is_taken(monkeypatch):
    with namespaces() as (host,):
        host.run("ip", "link", "set", "lo", "down")
        make = host.socket
        monkeypatch.setattr(
            capabilities,
            "_udp_socket",
            lambda: make(socket.AF_INET, socket.SOCK_DGRAM),
        )
        assert capabilities.gso_segments.__wrapped__() in {63, 128}


async def test_an_address_as_received_can_be_connected_to():
    async with await open_udp_socket(local_address=("::1", 0, 0, 0)) as server:
        name = server.socket.getsockname()
        assert len(name) == 4
        async with await open_udp_socket(remote_address=name) as client:
            assert client.socket.getpeername() == name
            await client.send(b"hello")
            _, address = await server.receive()
        async with await open_udp_socket(remote_address=address):
            pass


async def test_the_scope_of_an_address_is_kept():
    # Looked up only: a link-local address needs an interface of its own.
    for address in (("fe80::1", 9, 0, 7), ("fe80::1", 9, 5, 7)):
        found = await _look_up(address, socket.AF_INET6, 0)
        assert found == [(socket.AF_INET6, address)]


@pytest.mark.parametrize("address", ["/path", b"\0name", ("::1",), 7])
async def test_what_is_no_host_and_port_cannot_be_opened(address):
    with pytest.raises(TypeError, match=r"must be \(host, port\)"):
        await open_udp_socket(remote_address=address)


async def test_a_failed_opening_leaves_no_socket_open(recwarn):
    with pytest.raises(TypeError):
        await open_udp_socket(receive_buffer_size="much")
    with trio.CancelScope() as scope:
        look_up = trio.socket.getaddrinfo

        class Resolver(trio.abc.HostnameResolver):
            async def getaddrinfo(self, *arguments):
                found = await look_up("127.0.0.1", *arguments[1:])
                scope.cancel()
                return found

            async def getnameinfo(self, *arguments):
                raise NotImplementedError

        trio.socket.set_custom_hostname_resolver(Resolver())
        try:
            await open_udp_socket(local_address=("a-name", 0))
        finally:
            trio.socket.set_custom_hostname_resolver(None)
    assert scope.cancelled_caught
    gc.collect()
    # A ResourceWarning for each.
    assert not recwarn.list
