"""What the kernel refuses, and what becomes of the rest of the batch."""

import errno
import gc
import pickle
import socket

import pytest
import trio
from helpers import address_of, cancelled_when_blocked, receive_all
from needs import needs_addresses_where_connected, needs_gso
from network import namespaces, needs_command, needs_namespaces, two_hosts
from receive_buffer import grow_receive_buffer
from trio.testing import assert_checkpoints

from triobatch._core import calls
from triobatch._datagrams.errors import DatagramError, DatagramErrorGroup
from triobatch._datagrams.gso import Segmentation
from triobatch._datagrams.open import open_udp_socket
from triobatch._datagrams.outcomes import Outlet
from triobatch._datagrams.socket import DatagramSocket
from triobatch._queues.datagrams import Datagrams


def udp_socket(host):
    return host.socket(socket.AF_INET, socket.SOCK_DGRAM)


def wrap(stdlib_socket):
    return DatagramSocket(trio.socket.from_stdlib_socket(stdlib_socket))


REFUSED = {
    "too large": (bytes(65508), None, errno.EMSGSIZE),
    "to port 0": (b"x", ("127.0.0.1", 0), errno.EINVAL),
    "of another family": (b"x", ("::1", 9), errno.EAFNOSUPPORT),
    "without an address": (b"x", "connected", errno.EDESTADDRREQ),
    "broadcast": (b"x", ("255.255.255.255", 9), errno.EACCES),
}


@pytest.mark.parametrize("refused", REFUSED)
@pytest.mark.parametrize("at", [0, 1, 5, 9])
async def test_a_refused_datagram_does_not_stop_the_others(
    make_socket, refused, at
):
    payload, address, number = REFUSED[refused]
    receiver, sender = await make_socket(), await make_socket()
    target = address_of(receiver)
    if address == "connected":
        address = None
    elif address is None:
        address = target
    batch = [(b"%d" % i, target) for i in range(9)]
    batch.insert(at, (payload, address))
    queue = Datagrams(batch)
    with (
        assert_checkpoints(),
        pytest.raises(DatagramErrorGroup, match=r"1 of 10 .* 9 sent") as info,
    ):
        await sender.send_batch(queue)
    (error,) = info.value.exceptions
    assert (error.index, error.address, error.errno) == (at, address, number)
    assert info.value.sent == 9
    assert list(queue) == [(payload, address)]
    assert await receive_all(receiver, 9) == [b"%d" % i for i in range(9)]
    assert sender.statistics().datagrams_sent == 9


async def test_every_refused_datagram_is_named(make_socket):
    receiver, sender = await make_socket(), await make_socket()
    target, nowhere = address_of(receiver), ("127.0.0.1", 0)
    batch = [(b"%d" % i, nowhere if i % 3 else target) for i in range(200)]
    queue = Datagrams(batch)
    with pytest.raises(DatagramErrorGroup) as info:
        await sender.send_batch(queue)
    indices = sorted(error.index for error in info.value.exceptions)
    assert indices == [i for i in range(200) if i % 3]
    assert info.value.sent == 67
    assert list(queue) == [
        datagram_pair for datagram_pair in batch if datagram_pair[1] == nowhere
    ]
    expected = [b"%d" % i for i in range(0, 200, 3)]
    assert await receive_all(receiver, 67) == expected


async def test_a_run_to_nowhere_is_charged_datagram_by_datagram(make_socket):
    sender = await make_socket()
    with pytest.raises(DatagramErrorGroup) as info:
        await sender.send_many([bytes(100)] * 70, ("127.0.0.1", 0))
    assert [error.index for error in info.value.exceptions] == list(range(70))


async def test_one_datagram_alone_raises_its_error(make_socket):
    sender = await make_socket()
    with assert_checkpoints(), pytest.raises(DatagramError) as info:
        await sender.send(bytes(65508), ("127.0.0.1", 9))
    assert info.value.errno == errno.EMSGSIZE
    assert str(info.value).endswith("too long: to ('127.0.0.1', 9)")


async def test_the_largest_datagrams_are_sent(make_socket):
    for family, size in (("ipv4", 65507), ("ipv6", 65527)):
        receiver, sender = await make_socket(family), await make_socket(family)
        await sender.send(bytes(size), address_of(receiver))
        assert len((await receiver.receive())[0]) == size
        with pytest.raises(DatagramError, match="too long"):
            await sender.send(bytes(size + 1), address_of(receiver))


async def test_a_closed_port_is_never_charged_to_the_next_datagram(
    make_socket,
):
    gone = await make_socket()
    async with await open_udp_socket(
        remote_address=address_of(gone)
    ) as sender:
        await gone.aclose()
        for _ in range(20):
            await sender.send(b"alone")
        assert await sender.send_batch([(b"x", None)] * 70) == 70
        assert await sender.send_many([b"%d" % i for i in range(30)]) == 30
        statistics = sender.statistics()
        assert statistics.datagrams_sent == 120
        assert statistics.reports > 0


async def test_a_reported_error_does_not_end_receiving(make_socket):
    gone = await make_socket()
    async with await open_udp_socket(
        remote_address=address_of(gone)
    ) as client:
        name = address_of(gone)
        await gone.aclose()
        await client.send(b"refused")
        with pytest.raises(trio.WouldBlock):
            client.receive_nowait()
        again = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        with again:
            again.bind(name)
            again.sendto(b"back", address_of(client))
            with assert_checkpoints():
                assert await client.receive() == (b"back", name)


async def test_a_unix_peer_that_is_gone_is_an_error_of_its_datagrams(
    make_socket, tmp_path
):
    sender, receiver = await make_socket("unix"), await make_socket("unix")
    stale = await make_socket("unix")
    gone, missing = address_of(stale), str(tmp_path / "missing")
    await stale.aclose()
    with pytest.raises(DatagramErrorGroup) as info:
        await sender.send_batch(
            [(b"a", gone), (b"b", missing), (b"c", address_of(receiver))]
        )
    assert [(e.index, e.errno) for e in info.value.exceptions] == [
        (0, errno.ECONNREFUSED),
        (1, errno.ENOENT),
    ]
    assert await receive_all(receiver, 1) == [b"c"]


@needs_addresses_where_connected
async def test_a_unix_peer_that_turned_away_is_charged_to_no_datagram(
    make_socket,
):
    sender, peer = await make_socket("unix"), await make_socket("unix")
    other = await make_socket("unix")

    async def turn_away():
        await sender.socket.connect(address_of(peer))
        await peer.socket.connect(address_of(sender))
        await sender.send(b"never read")
        # What is queued is dropped, and the sender's next call is told.
        await peer.socket.connect(address_of(other))

    await turn_away()
    assert await sender.send_many([b"a", b"b"], address_of(other)) == 2
    assert await receive_all(other, 2) == [b"a", b"b"]
    assert sender.statistics().reports == 1
    await peer.socket.connect(address_of(sender))
    await turn_away()
    with pytest.raises(trio.WouldBlock):
        sender.receive_batch_nowait()
    assert sender.statistics().reports == 2


async def test_a_shut_down_socket_fails_as_a_whole(make_socket):
    receiver = await make_socket()
    async with await open_udp_socket(
        remote_address=address_of(receiver)
    ) as sender:
        sender.socket.shutdown(socket.SHUT_WR)
        queue = Datagrams([(b"x", None)] * 3)
        with pytest.raises(BrokenPipeError):
            await sender.send_batch(queue)
        assert len(queue) == 3


@needs_namespaces
async def test_a_datagram_without_a_route_is_refused():
    with namespaces() as (host,):
        async with wrap(
            host.socket(socket.AF_INET, socket.SOCK_DGRAM)
        ) as here:
            await here.socket.bind(("127.0.0.1", 0))
            target = address_of(here)
            with pytest.raises(DatagramErrorGroup) as info:
                await here.send_batch(
                    [(b"a", target), (b"b", ("10.99.0.1", 9)), (b"c", target)]
                )
            (error,) = info.value.exceptions
            assert (error.index, error.errno) == (1, errno.ENETUNREACH)
            assert await receive_all(here, 2) == [b"a", b"c"]


@needs_command("nft")
@needs_namespaces
async def test_a_datagram_that_a_filter_drops_is_refused():
    with namespaces() as (host,):
        host.run("nft", "add table ip t")
        host.run(
            "nft",
            "add chain ip t o { type filter hook output priority 0; }",
        )
        host.run("nft", "add rule ip t o udp dport 4001 drop")
        async with wrap(
            host.socket(socket.AF_INET, socket.SOCK_DGRAM)
        ) as here:
            await here.socket.bind(("127.0.0.1", 0))
            target = address_of(here)
            batch = [
                (b"%d" % i, ("127.0.0.1", 4001) if i in {2, 3, 4} else target)
                for i in range(8)
            ]
            with pytest.raises(DatagramErrorGroup) as info:
                await here.send_batch(batch)
            assert [(e.index, e.errno) for e in info.value.exceptions] == [
                (2, errno.EPERM),
                (3, errno.EPERM),
                (4, errno.EPERM),
            ]
            assert len(await receive_all(here, 5)) == 5


@needs_gso
@needs_namespaces
async def test_segments_larger_than_the_mtu_go_in_fragments():
    with two_hosts() as (near, far):
        near.run("ip", "link", "set", "veth", "mtu", "1280")
        far.run("ip", "link", "set", "veth", "mtu", "1280")
        async with (
            wrap(udp_socket(near)) as sender,
            wrap(udp_socket(far)) as receiver,
        ):
            await receiver.socket.bind(("10.77.0.2", 0))
            target = address_of(receiver)
            payloads = [bytes([i]) * 1400 for i in range(20)]
            assert await sender.send_many(payloads, target) == 20
            assert await receive_all(receiver, 20) == payloads
            refusals = sender.statistics().gso_refusals
            assert sum(refusals.values()) == 1
            # That size rests for this destination; smaller ones do not.
            runs = sender.statistics().gso_runs
            assert await sender.send_many(payloads, target) == 20
            assert sender.statistics().gso_refusals == refusals
            assert sender.statistics().gso_runs == runs
            small = [bytes([i]) * 1200 for i in range(20)]
            assert await sender.send_many(small, target) == 20
            assert sender.statistics().gso_runs == runs + 1
            assert await receive_all(receiver, 40) == payloads + small


@needs_command("tc")
@needs_namespaces
async def test_a_full_interface_is_waited_for():
    with two_hosts() as (near, far):
        near.run(
            *("tc", "qdisc", "add", "dev", "veth", "root", "tbf"),
            *("rate", "2mbit", "burst", "10kb", "limit", "10mb"),
        )
        sock, other = udp_socket(near), udp_socket(far)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4608)
        # Trains take less room, but for one each.
        grow_receive_buffer(other)
        async with wrap(sock) as sender, wrap(other) as receiver:
            await receiver.socket.bind(("10.77.0.2", 0))
            target = address_of(receiver)
            payloads = [(b"%d" % i).ljust(1000) for i in range(100)]
            queue = Datagrams((payload, target) for payload in payloads)
            async with cancelled_when_blocked() as scope:
                await sender.send_batch(queue)
            assert scope.cancelled_caught
            assert 0 < len(queue) < 100
            await sender.send_batch(queue)
            assert await receive_all(receiver, 100) == payloads


async def test_a_call_that_does_not_wait_says_what_is_left(datagram_pair):
    left, _ = datagram_pair
    queue = Datagrams([(b"x", "/nowhere")] + [(bytes(4000), None)] * 500)
    with pytest.raises(DatagramErrorGroup, match=r" sent, \d+ left") as info:
        left.send_batch_nowait(queue)
    group = info.value
    assert group.offered == 501
    assert group.sent + group.left == 500
    assert group.left == len(queue) - 1
    part = group.subgroup(OSError)
    assert (part.offered, part.sent, part.left) == (
        501,
        group.sent,
        group.left,
    )
    again = pickle.loads(pickle.dumps(group))
    assert str(again) == str(group)
    assert again.left == group.left


@pytest.mark.parametrize("method", ["send", "send_segments", "send_batch"])
@pytest.mark.parametrize("fatal", [False, True])
async def test_a_failed_send_leaves_the_payload_free(
    make_socket, method, fatal
):
    sock = await make_socket()
    nowhere = ("127.0.0.1", 0)
    if fatal:
        await sock.socket.connect(address_of(sock))
        sock.socket.shutdown(socket.SHUT_WR)
        nowhere = None
    payload = bytearray(100)
    gc.disable()
    try:
        try:
            if method == "send":
                await sock.send(payload, nowhere)
            elif method == "send_segments":
                await sock.send_segments(payload, 10, nowhere)
            else:
                await sock.send_batch([(payload, nowhere)])
        except (OSError, DatagramErrorGroup):
            pass
        else:
            pytest.fail("it was sent")
        # It would be a BufferError, if a traceback kept it exported.
        payload.append(0)
    finally:
        gc.enable()


async def test_a_long_batch_of_large_datagrams_lets_others_run(make_socket):
    sender = await make_socket()
    turns = 0

    async def count_turns():
        nonlocal turns
        while True:
            turns += 1
            await trio.lowlevel.checkpoint()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(count_turns)
        await sender.send_segments(bytes(16 << 20), 1000, address_of(sender))
        nursery.cancel_scope.cancel()
    assert turns >= 3


@pytest.mark.parametrize(
    ("number", "internet", "fatal"),
    [
        (errno.EBADF, True, True),
        (errno.EBADF, False, True),
        (errno.EPIPE, True, True),
        (errno.EPIPE, False, False),
        (errno.EMSGSIZE, True, False),
        (errno.ECONNREFUSED, False, False),
    ],
)
def test_an_error_is_of_the_socket_or_of_a_datagram(number, internet, fatal):
    outlet = Outlet(Segmentation(1, lambda: 0), internet, calls)
    assert outlet.is_fatal(number) is fatal
