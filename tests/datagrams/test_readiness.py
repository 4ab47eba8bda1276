"""Waiting: no trap of epoll spins, and every wait can be left."""

import contextlib
import errno
import os
import socket
import sys
import time

import pytest
import trio
from network import needs_namespaces, two_hosts
from trio.testing import assert_checkpoints, wait_all_tasks_blocked

from triobatch._core import calls as syscalls
from triobatch._datagrams import readiness as _readiness
from triobatch._datagrams import unix_peer as _unix_peer
from triobatch._datagrams.errors import DatagramErrorGroup
from triobatch._datagrams.lowlevel import recvmmsg, sendmmsg
from triobatch._datagrams.open import open_udp_socket
from triobatch._datagrams.socket import DatagramSocket
from triobatch._queues.datagrams import Datagrams
from triobatch._wire.control import SOL_IP
from triobatch._wire.error_queue import IP_RECVERR


def address_of(sock):
    return sock.socket.getsockname()


@contextlib.asynccontextmanager
async def no_spin(seconds=0.3):
    """Fail if the process uses a CPU while the body's tasks are blocked."""
    async with trio.open_nursery() as nursery:
        yield nursery
        await wait_all_tasks_blocked(0.01)
        before = time.process_time()
        await trio.sleep(seconds)
        used = time.process_time() - before
        nursery.cancel_scope.cancel()
    assert used < seconds / 5


async def test_a_full_unix_destination_is_waited_for(make_socket):
    sender, receiver = await make_socket("unix"), await make_socket("unix")
    target = address_of(receiver)
    payloads = [b"%d" % i for i in range(200)]
    queue = Datagrams((payload, target) for payload in payloads)
    async with no_spin() as nursery:
        nursery.start_soon(sender.send_batch, queue)
    arrived = []
    async with trio.open_nursery() as nursery:
        nursery.start_soon(sender.send_batch, queue)
        while len(arrived) < len(payloads):
            arrived += await receiver.receive_batch()
    assert [payload for payload, _ in arrived] == payloads
    # Woken by the kernel, not by a clock: a few calls a full queue.
    assert sender.statistics().send_calls < 100


async def test_the_full_one_of_two_unix_destinations_is_waited_for(
    make_socket,
):
    sender = await make_socket("unix")
    full, empty = await make_socket("unix"), await make_socket("unix")
    queue = Datagrams((b"%d" % i, address_of(full)) for i in range(12))
    queue.append((b"last", address_of(empty)))
    async with no_spin() as nursery:
        nursery.start_soon(sender.send_batch, queue)
    assert len(queue) == 2


async def test_closing_wakes_a_sender_that_waits_for_a_unix_peer(make_socket):
    sender, receiver = await make_socket("unix"), await make_socket("unix")
    async with trio.open_nursery() as nursery:

        @nursery.start_soon
        async def send():
            with pytest.raises(trio.ClosedResourceError):
                await sender.send_many([b"x"] * 100, address_of(receiver))

        await wait_all_tasks_blocked()
        await sender.aclose()


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


async def test_a_report_that_another_task_has_found_is_handed_over(
    make_socket,
):
    gone = await make_socket()
    name = address_of(gone)
    await gone.aclose()
    client = await make_socket(error_queue=True)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(client.receive_errors)
        await wait_all_tasks_blocked()
        client.send_nowait(b"x", name)
        # As a receiver does that wakes first: nothing is left to see then.
        client._readiness.drain()


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


async def test_a_task_that_waits_for_errors_sleeps_through_data(make_socket):
    client, peer = await make_socket(error_queue=True), await make_socket()
    await peer.send(b"unread", address_of(client))
    async with no_spin() as nursery:
        nursery.start_soon(client.receive_errors)
    assert (await client.receive())[0] == b"unread"


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


async def test_no_reports_without_asking(make_socket):
    client = await make_socket()
    with pytest.raises(ValueError, match="error_queue"):
        await client.receive_errors()
    with pytest.raises(OSError, match="no error queue"):
        await make_socket("unix", error_queue=True)
    asking = await make_socket(error_queue=True)
    with pytest.raises(trio.WouldBlock):
        asking.receive_errors_nowait()


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


async def test_a_kernel_drop_is_counted(make_socket):
    receiver, sender = await make_socket(), await make_socket()
    receiver.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4608)
    for _ in range(20):
        await sender.send(bytes(1000), address_of(receiver))
    got = len(await receiver.receive_batch())
    assert receiver.statistics().kernel_drops == 20 - got > 0


class Unconnectable(socket.socket):
    def connect(self, address):
        raise OSError(errno.EPERM, os.strerror(errno.EPERM))


class Exhausted(socket.socket):
    def __init__(self, family=-1, kind=-1, proto=-1, fileno=None):
        if fileno is None:
            raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))
        super().__init__(family, kind, proto, fileno)


@pytest.mark.parametrize("probe", [Unconnectable, Exhausted])
async def test_without_a_probe_socket_a_unix_peer_is_waited_for_by_time(
    make_socket, monkeypatch, probe
):
    sender, receiver = await make_socket("unix"), await make_socket("unix")
    monkeypatch.setattr(_unix_peer, "BACK_OFF", 0.001)

    queue = Datagrams((b"%d" % i, address_of(receiver)) for i in range(50))
    async with trio.open_nursery() as nursery:
        monkeypatch.setattr(_unix_peer.socket, "socket", probe)
        nursery.start_soon(sender.send_batch, queue)
        await wait_all_tasks_blocked()
        received = 0
        while received < 50:
            received += len(await receiver.receive_batch())


@pytest.fixture
async def waiting_for_a_full_peer(make_socket, nursery):
    """A peer whose queue is full, and what a sender has left for it."""
    sender, full = await make_socket("unix"), await make_socket("unix")
    queue = Datagrams((b"%d" % i, address_of(full)) for i in range(12))
    outcome = []

    async def send():
        try:
            outcome.append(await sender.send_batch(queue))
        except DatagramErrorGroup as exc:
            outcome.extend(error.errno for error in exc.exceptions)

    nursery.start_soon(send)
    await wait_all_tasks_blocked()
    assert len(queue) == 1
    return full, outcome


async def test_a_full_unix_peer_may_make_way_for_another(
    make_socket, waiting_for_a_full_peer, autojump_clock
):
    full, outcome = waiting_for_a_full_peer
    other = await make_socket("unix")
    # As a new process does while the old one is stuck.
    os.rename(address_of(other), address_of(full))
    payload, _ = await other.receive()
    assert payload == b"11"
    await wait_all_tasks_blocked()
    assert outcome == [12]


async def test_a_full_unix_peer_may_turn_away(
    make_socket, waiting_for_a_full_peer, autojump_clock
):
    full, outcome = waiting_for_a_full_peer
    await full.socket.connect(address_of(await make_socket("unix")))
    await trio.sleep(2)
    assert outcome == [errno.EPERM]


@pytest.fixture
def default_timeout():
    socket.setdefaulttimeout(5)
    yield
    socket.setdefaulttimeout(None)


async def test_a_default_timeout_does_not_block_the_loop(
    make_socket, default_timeout
):
    sock = await make_socket(error_queue=True)
    before = time.monotonic()
    for method in (sock.receive_errors_nowait, sock.receive_batch_nowait):
        with pytest.raises(trio.WouldBlock):
            method()
    assert time.monotonic() - before < 1


class Protection:
    """Notes whether Ctrl-C is held off, and passes a call on."""

    def __init__(self, monkeypatch, name):
        self.seen = []
        self._call = getattr(syscalls, name)
        monkeypatch.setattr(syscalls, name, self)

    def __call__(self, *args):
        self.seen.append(trio.lowlevel.currently_ki_protected())
        return self._call(*args)


async def test_ctrl_c_is_held_off_while_a_descriptor_is_borrowed(
    make_socket, monkeypatch
):
    # Both would close it, if they were left half way.
    errors = Protection(monkeypatch, "receive_error")
    received = Protection(monkeypatch, "receive_datagrams")
    sent = Protection(monkeypatch, "send_datagrams")
    sock = await make_socket(error_queue=True)
    fd, me = sock.socket.fileno(), address_of(sock)

    @trio.lowlevel.disable_ki_protection
    def call():
        with contextlib.suppress(trio.WouldBlock):
            sock.receive_errors_nowait()
        sendmmsg(fd, [(b"x", me)])
        recvmmsg(fd, bytearray(10), 10)
        assert not trio.lowlevel.currently_ki_protected()

    call()
    assert errors.seen == received.seen == sent.seen == [True]


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
        trio.fail_after(1),
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
        with trio.fail_after(1), pytest.raises(trio.ClosedResourceError):
            await sock.receive_errors()
