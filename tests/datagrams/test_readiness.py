"""Waiting: no trap of epoll spins, and every wait can be left."""

import contextlib
import errno
import socket
import sys
import time

import pytest
import trio
from helpers import address_of, no_spin
from needs import needs_error_queue
from network import needs_namespaces, two_hosts
from trio.testing import assert_checkpoints, wait_all_tasks_blocked

from triobatch._datagrams import readiness as _readiness
from triobatch._datagrams.lowlevel import recvmmsg, sendmmsg
from triobatch._datagrams.open import open_udp_socket
from triobatch._datagrams.socket import DatagramSocket
from triobatch._wire.control import SOL_IP
from triobatch._wire.error_queue import IP_RECVERR


async def test_reports_that_nobody_asked_for_do_not_spin(make_socket):
    gone = await make_socket()
    name = address_of(gone)
    await gone.aclose()
    async with await open_udp_socket(remote_address=name) as client:
        # Set behind our back.
        client.socket.setsockopt(SOL_IP, IP_RECVERR, 1)
        async with no_spin() as nursery:
            nursery.start_soon(client.receive)
            await wait_all_tasks_blocked()
            for _ in range(5):
                await client.send(b"x")


@needs_error_queue
@pytest.mark.parametrize("family", ["ipv4", "ipv6"])
async def test_a_report_names_the_datagram(make_socket, family):
    gone = await make_socket(family)
    name = address_of(gone)
    await gone.aclose()
    client = await make_socket(family, error_queue=True)
    assert await client.send_batch([(b"to nobody", name)]) == 1
    with assert_checkpoints():
        (error,) = await client.receive_errors()
    assert error.errno == errno.ECONNREFUSED
    assert error.address[:2] == name[:2]
    assert error.payload == b"to nobody"
    assert error.mtu is None
    assert error.offender == name[0]


@needs_error_queue
async def test_a_vanished_client_does_not_hurt_the_others(make_socket):
    server = await make_socket(error_queue=True)
    alive, gone = await make_socket(), await make_socket()
    name = address_of(gone)
    await gone.aclose()
    batch = [(b"%d" % i, [address_of(alive), name][i % 2]) for i in range(20)]
    for datagram_pair in batch:
        assert await server.send_batch([datagram_pair]) == 1
    received = [await alive.receive() for _ in range(10)]
    assert [p for p, _ in received] == [b"%d" % i for i in range(0, 20, 2)]
    errors = server.receive_errors_nowait()
    assert {error.address for error in errors} == {name}
    await alive.send(b"still here", address_of(server))
    assert (await server.receive())[0] == b"still here"


@needs_error_queue
async def test_a_task_waits_for_errors_beside_one_that_receives(make_socket):
    gone = await make_socket()
    name = address_of(gone)
    await gone.aclose()
    client = await make_socket(error_queue=True)
    errors = []
    async with no_spin() as nursery:
        nursery.start_soon(client.receive_batch)

        @nursery.start_soon
        async def receive():
            while True:
                errors.extend(await client.receive_errors())

        await wait_all_tasks_blocked()
        for _ in range(3):
            await client.send(b"x", name)
            await wait_all_tasks_blocked(0.01)
    assert len(errors) == 3


@needs_error_queue
async def test_a_report_that_another_task_has_found_is_handed_over(
    make_socket,
):
    gone = await make_socket()
    name = address_of(gone)
    await gone.aclose()
    client = await make_socket(error_queue=True)
    errors = []
    async with trio.open_nursery() as nursery:

        @nursery.start_soon
        async def receive():
            errors.extend(await client.receive_errors())

        await wait_all_tasks_blocked()
        client.send_nowait(b"x", name)
        # As a receiver does that wakes first: nothing is left to see then.
        client._readiness.drain()
    assert [error.payload for error in errors] == [b"x"]


@needs_error_queue
async def test_reports_that_nobody_fetches_take_no_more_memory(make_socket):
    gone = await make_socket()
    name = address_of(gone)
    await gone.aclose()
    client = await make_socket(error_queue=True)
    for i in range(_readiness.MAX_ERRORS + 10):
        await client.send(b"%d" % i, name)
        client._readiness.drain()
    errors = client.receive_errors_nowait()
    assert [error.payload for error in errors] == [
        b"%d" % i for i in range(10, _readiness.MAX_ERRORS + 10)
    ]


@needs_error_queue
async def test_a_pending_error_without_a_report_does_not_spin(make_socket):
    gone = await make_socket()
    name = address_of(gone)
    await gone.aclose()
    client = await make_socket(error_queue=True)
    client.socket.setsockopt(SOL_IP, IP_RECVERR, 0)
    await client.socket.connect(name)
    await client.send(b"x")
    async with no_spin() as nursery:
        nursery.start_soon(client.receive_errors)


@needs_error_queue
async def test_a_task_that_waits_for_errors_sleeps_through_data(make_socket):
    client, peer = await make_socket(error_queue=True), await make_socket()
    await peer.send(b"unread", address_of(client))
    async with no_spin() as nursery:
        nursery.start_soon(client.receive_errors)
    assert (await client.receive())[0] == b"unread"


@needs_error_queue
async def test_closing_wakes_a_task_that_waits_for_errors(make_socket):
    client = await make_socket(error_queue=True)
    async with trio.open_nursery() as nursery:

        @nursery.start_soon
        async def receive():
            with pytest.raises(trio.ClosedResourceError):
                await client.receive_errors()

        await wait_all_tasks_blocked()
        errors_only = client._readiness._errors_only
        await client.aclose()
        # No descriptor stays open where the object does.
        assert errors_only.closed


@needs_error_queue
async def test_no_reports_without_asking(make_socket):
    client = await make_socket()
    with pytest.raises(ValueError, match="error_queue"):
        await client.receive_errors()
    with pytest.raises(OSError, match="no error queue"):
        await make_socket("unix", error_queue=True)
    asking = await make_socket(error_queue=True)
    with pytest.raises(trio.WouldBlock):
        asking.receive_errors_nowait()


@needs_error_queue
@needs_namespaces
async def test_a_report_of_a_narrow_path_has_its_mtu():
    with two_hosts() as (near, _):
        near.run(
            *("ip", "route", "change", "10.77.0.0/24", "dev", "veth"),
            *("mtu", "lock", "1200", "src", "10.77.0.1"),
        )
        sock = near.socket(socket.AF_INET, socket.SOCK_DGRAM)
        sock.setsockopt(SOL_IP, 10, 2)  # IP_MTU_DISCOVER, IP_PMTUDISC_DO
        wrapped = trio.socket.from_stdlib_socket(sock)
        async with DatagramSocket(wrapped, error_queue=True) as sender:
            with pytest.raises(OSError, match="too long"):
                await sender.send(bytes(1400), ("10.77.0.2", 9))
            error = (await sender.receive_errors())[0]
            assert (error.errno, error.mtu) == (errno.EMSGSIZE, 1200)
            assert error.offender is None


@pytest.mark.parametrize("method", ["receive", "receive_batch"])
async def test_closing_wakes_a_receiver(make_socket, method):
    sock = await make_socket()
    async with trio.open_nursery() as nursery:

        @nursery.start_soon
        async def receive():
            with pytest.raises(trio.ClosedResourceError):
                await getattr(sock, method)()

        await wait_all_tasks_blocked()
        await sock.aclose()
    with pytest.raises(trio.ClosedResourceError):
        await getattr(sock, method)()
    with pytest.raises(trio.ClosedResourceError):
        await sock.send(b"x", ("127.0.0.1", 9))


@pytest.fixture
def default_timeout():
    socket.setdefaulttimeout(30)
    yield
    socket.setdefaulttimeout(None)


@needs_error_queue
async def test_a_default_timeout_does_not_block_the_loop(
    make_socket, default_timeout
):
    sock = await make_socket(error_queue=True)
    before = time.monotonic()
    for method in (sock.receive_errors_nowait, sock.receive_batch_nowait):
        with pytest.raises(trio.WouldBlock):
            method()
    # Either would have taken thirty seconds.
    assert time.monotonic() - before < 30


@needs_error_queue
async def test_ctrl_c_is_held_off_while_a_descriptor_is_borrowed(
    make_socket, around
):
    # They would close it, if they were left half way.
    seen = []

    def note(real, *args):
        protected = trio.lowlevel.currently_ki_protected()
        seen.append((real.__name__, protected))
        return real(*args)

    names = (
        "receive_error",
        "send_datagram",
        "send_datagrams",
        "receive_datagrams",
    )
    for name in names:
        around(name, note)
    sock = await make_socket(error_queue=True)
    fd, me = sock.socket.fileno(), address_of(sock)

    @trio.lowlevel.disable_ki_protection
    def call():
        with contextlib.suppress(trio.WouldBlock):
            sock.receive_errors_nowait()
        sendmmsg(fd, [(b"x", me)])
        sendmmsg(fd, [(b"x", me), (b"xy", me)])
        recvmmsg(fd, bytearray(10), 10)
        assert not trio.lowlevel.currently_ki_protected()

    call()
    assert seen == [(name, True) for name in names]


needs_poll = pytest.mark.skipif(
    sys.platform != "linux", reason="only Linux says so in poll(2)"
)


@needs_poll
@pytest.mark.parametrize("how", [socket.SHUT_RD, socket.SHUT_RDWR])
@pytest.mark.parametrize("family", ["ipv4", "unix"])
async def test_a_socket_shut_down_for_receiving_does_not_spin(
    make_socket, family, how
):
    sock, peer = await make_socket(family), await make_socket(family)
    await peer.send(b"before", address_of(sock))
    await sock.socket.connect(address_of(peer))
    sock.socket.shutdown(how)
    assert (await sock.receive())[0] == b"before"
    with (
        trio.fail_after(60),
        assert_checkpoints(),
        pytest.raises(trio.ClosedResourceError, match="shut down"),
    ):
        await sock.receive_batch()


@needs_poll
async def test_waiting_for_errors_of_a_socket_shut_down_does_not_spin(
    make_socket,
):
    peer = await make_socket()
    sock = await open_udp_socket(
        remote_address=address_of(peer), error_queue=True
    )
    async with sock:
        sock.socket.shutdown(socket.SHUT_RDWR)
        with trio.fail_after(60), pytest.raises(trio.ClosedResourceError):
            await sock.receive_errors()
