"""Every datagram arrives once, whole, and in order for its destination."""

import ctypes
import itertools
import random
import socket
import struct
import sys

import pytest
import trio
from helpers import address_of, receive_all, receive_datagrams
from receive_buffer import needs_room
from trio.testing import assert_checkpoints

from triobatch import open_udp_socket
from triobatch._core.choice import CORE
from triobatch._datagrams.errors import DatagramErrorGroup
from triobatch._datagrams.socket import DatagramSocket
from triobatch._queues.datagrams import Datagrams
from triobatch._wire.control import SOL_UDP, UDP_GRO

FAMILIES = ["ipv4", "ipv6", "unix"]
COUNTS = [0, 1, 2, 63, 64, 65, 127, 128, 129, 1023, 1024, 1025, 3000]
SIZES = [
    *(0, 1, 64, 1200, 1472, 9000),
    pytest.param(65507, marks=needs_room),
]


def payloads_of(count, size, start=0):
    """Return ``count`` payloads that can be told apart from 4 bytes on."""
    stamp = min(size, 4)
    return [
        (start + i).to_bytes(4, "big")[:stamp] + bytes(size - stamp)
        for i in range(count)
    ]


async def deliver(sender, receivers, datagrams):
    """Send in slices that the receivers' buffers hold; return by receiver."""
    arrived = {address_of(sock): [] for sock in receivers}
    space = 64 if len(receivers) else 1
    for start in range(0, len(datagrams), space):
        some = datagrams[start : start + space]
        async with trio.open_nursery() as nursery:

            async def receive(sock, count):
                batch = await receive_datagrams(sock, count)
                arrived[address_of(sock)] += batch

            for sock in receivers:
                count = sum(address == address_of(sock) for _, address in some)
                if count:
                    nursery.start_soon(receive, sock, count)
            assert await sender.send_batch(some) == len(some)
    return arrived


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("count", COUNTS)
async def test_a_batch_of_any_count_arrives(make_socket, family, count):
    receiver, sender = await make_socket(family), await make_socket(family)
    payloads = payloads_of(count, 64)
    target = address_of(receiver)
    received = []
    async with trio.open_nursery() as nursery:

        @nursery.start_soon
        async def receive():
            received.extend(await receive_datagrams(receiver, count))

        # 64 bytes occupy 768 in the buffer: 3000 of them fit.
        queue = Datagrams((payload, target) for payload in payloads)
        with assert_checkpoints():
            assert await sender.send_batch(queue) == count
        assert len(queue) == 0
    assert [payload for payload, _ in received] == payloads
    assert {address for _, address in received} <= {address_of(sender)}


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("method", ["batch", "many", "segments"])
async def test_payloads_of_any_size_arrive(make_socket, family, size, method):
    receiver, sender = await make_socket(family), await make_socket(family)
    count = 20
    payloads = payloads_of(count, size)
    target = address_of(receiver)
    received = []
    async with trio.open_nursery() as nursery:

        @nursery.start_soon
        async def receive():
            expected = count if size or method != "segments" else 0
            received.extend(await receive_datagrams(receiver, expected))

        with assert_checkpoints():
            if method == "batch":
                await sender.send_batch([(p, target) for p in payloads])
            elif method == "many":
                await sender.send_many(payloads, target)
            else:
                await sender.send_segments(
                    b"".join(payloads), max(1, size), target
                )
    if size or method != "segments":
        assert [payload for payload, _ in received] == payloads


@needs_room
@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("gro", [True, False])
@pytest.mark.parametrize("receivers", [1, 2, 7])
async def test_mixed_batches_keep_the_order_of_each_destination(
    make_socket, family, gro, receivers
):
    sender = await make_socket(family)
    targets = [await make_socket(family) for _ in range(receivers)]
    if family != "unix":
        for sock in targets:
            sock.socket.setsockopt(SOL_UDP, UDP_GRO, int(gro))
    chance = random.Random(receivers)
    sizes = [0, 1, 64, 1200, 1200, 1200, 1200, 1472, 9000, 40000]
    names = itertools.cycle(map(address_of, targets))
    datagrams = [
        (payloads_of(1, chance.choice(sizes), start=i)[0], next(names))
        for i in range(300)
    ]
    arrived = await deliver(sender, targets, datagrams)
    for name, received in arrived.items():
        sent = [payload for payload, address in datagrams if address == name]
        assert [payload for payload, _ in received] == sent


@pytest.mark.parametrize("family", FAMILIES)
async def test_an_echo_is_one_line(make_socket, family):
    server, client = await make_socket(family), await make_socket(family)
    payloads = payloads_of(10, 100)
    await client.send_many(payloads, address_of(server))
    echoed = 0
    while echoed < 10:
        echoed += await server.send_batch(await server.receive_batch())
    received = await receive_datagrams(client, 10)
    assert received == [(p, address_of(server)) for p in payloads]


@pytest.mark.parametrize("gro", [True, False])
@pytest.mark.parametrize("limit", [1, 7, 54, 64, 100])
async def test_max_datagrams_holds_within_a_train(make_socket, gro, limit):
    receiver, sender = await make_socket(), await make_socket()
    receiver.socket.setsockopt(SOL_UDP, UDP_GRO, int(gro))
    payloads = payloads_of(130, 1200)
    await sender.send_many(payloads, address_of(receiver))
    received = []
    while len(received) < len(payloads):
        with assert_checkpoints():
            batch = await receiver.receive_batch(limit)
        assert 1 <= len(batch) <= limit
        received += batch
    assert [payload for payload, _ in received] == payloads


async def test_a_short_last_segment_arrives_short(make_socket):
    receiver, sender = await make_socket(), await make_socket()
    data = bytes(range(256)) * 20
    assert await sender.send_segments(data, 1000, address_of(receiver)) == 6
    received = await receive_datagrams(receiver, 6)
    assert [len(payload) for payload, _ in received] == [1000] * 5 + [120]
    assert b"".join(payload for payload, _ in received) == data


async def test_no_bytes_are_no_segments_but_one_empty_datagram(make_socket):
    receiver, sender = await make_socket(), await make_socket()
    with assert_checkpoints():
        assert await sender.send_segments(b"", 9, address_of(receiver)) == 0
    with assert_checkpoints():
        await sender.send(b"", address_of(receiver))
    with assert_checkpoints():
        assert await receiver.receive() == (b"", address_of(sender))


async def test_many_addresses_get_a_datagram_each(make_socket):
    sender = await make_socket()
    receivers = [await make_socket() for _ in range(64)]
    sent = await sender.send_batch(
        (b"%d" % i, address_of(sock)) for i, sock in enumerate(receivers)
    )
    assert sent == 64
    for i, sock in enumerate(receivers):
        assert await sock.receive() == (b"%d" % i, address_of(sender))
    assert sender.statistics().send_calls == 1


async def test_an_ipv4_address_is_reached_from_an_ipv6_socket():
    receiver = trio.socket.socket(trio.socket.AF_INET, trio.socket.SOCK_DGRAM)
    sock = trio.socket.socket(trio.socket.AF_INET6, trio.socket.SOCK_DGRAM)
    with receiver:
        await receiver.bind(("127.0.0.1", 0))
        async with DatagramSocket(sock) as sender:
            target = receiver.getsockname()
            mapped = f"::ffff:{target[0]}", target[1]
            await sender.send_batch([(b"a", target), (b"b", mapped)])
            assert await receiver.recv(9) == b"a"
            assert await receiver.recv(9) == b"b"


async def test_a_bytearray_and_a_view_of_words_are_payloads(datagram_pair):
    left, right = datagram_pair
    words = memoryview(b"abcdefgh").cast("I")
    await left.send_many([bytearray(b"mutable"), words])
    assert await receive_datagrams(right, 2) == [
        (b"mutable", None),
        (b"abcdefgh", None),
    ]


@pytest.mark.skipif(sys.platform != "linux", reason="Linux's sockaddr_un")
async def test_a_peer_whose_path_fills_its_sockaddr_is_answered(
    make_socket, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    server = await make_socket("unix")
    path = b"x" * 108
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as client:
        # bind() of the standard library wants room for a zero byte.
        sockaddr = struct.pack("=H", socket.AF_UNIX) + path
        libc = ctypes.CDLL(None, use_errno=True)
        assert not libc.bind(client.fileno(), sockaddr, len(sockaddr))
        for _ in range(2):
            client.sendto(b"ping", server.socket.getsockname())
        # The kernel says that the name has 111 bytes, as for a zero behind
        # it, where the next slot's name begins.
        batch = await server.receive_batch()
        assert batch == [(b"ping", path.decode())] * 2
        del batch[1]
        if CORE == "python":
            with pytest.raises(DatagramErrorGroup, match="1 of 1 "):
                await server.send_batch(batch)
        else:
            await server.send_batch(batch)
            assert client.recv(9, socket.MSG_DONTWAIT) == b"ping"


async def test_order_is_kept_whatever_the_destination_is_called(make_socket):
    receiver = await make_socket()
    host, port = named = address_of(receiver)
    async with await open_udp_socket(remote_address=named) as sender:
        await sender.send_batch(
            (b"%d" % i, None if i % 2 else named) for i in range(9)
        )
    async with await open_udp_socket(
        family=trio.socket.AF_INET6
    ) as dual_stack:
        await dual_stack.send_batch(
            (b"%d" % i, (f"::ffff:{host}", port) if i % 2 else named)
            for i in range(9)
        )
    assert await receive_all(receiver, 18) == [b"%d" % i for i in range(9)] * 2
