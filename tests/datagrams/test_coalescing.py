"""Datagrams that the receiver's kernel puts together, and cuts of our own.

Loopback only passes on what was sent as one message. Between two hosts the
receiver coalesces what was sent one by one, and then trains end wherever
something differs: the recipe makes that deterministic.
"""

import errno
import socket

import pytest
import trio
from network import needs_command, needs_namespaces, two_hosts

from triobatch._core.probes import has_gro
from triobatch._datagrams.socket import DatagramSocket
from triobatch._wire.metadata import Metadata

pytestmark = [
    needs_namespaces,
    needs_command("ethtool"),
    pytest.mark.skipif(not has_gro(), reason="needs UDP_GRO"),
]


@pytest.fixture(scope="module")
def coalescing_hosts():
    with two_hosts() as (near, far):
        # Each packet is handed over by itself, as from a cable...
        near.run("ethtool", "-K", "veth", "tso", "off")
        far.run(
            *("ethtool", "-K", "veth", "gro", "on"),
            *("rx-udp-gro-forwarding", "on"),
        )
        # ...and kept for 2 ms, in case others follow.
        far.run(
            *("sh", "-c"),
            "echo 2000000 > /sys/class/net/veth/gro_flush_timeout &&"
            " echo 10 > /sys/class/net/veth/napi_defer_hard_irqs",
        )
        yield near, far


@pytest.fixture
async def sockets(coalescing_hosts):
    """A plain sender, the receiver, and the receiver's address."""
    near, far = coalescing_hosts
    sender = near.socket(socket.AF_INET, socket.SOCK_DGRAM)
    receiving = far.socket(socket.AF_INET, socket.SOCK_DGRAM)
    receiving.bind(("10.77.0.2", 0))
    receiving.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 22)
    with sender:
        async with DatagramSocket(
            trio.socket.from_stdlib_socket(receiving)
        ) as receiver:
            yield sender, receiver, receiving.getsockname()


async def receive_by_sevens(receiver, count):
    messages = []
    with trio.fail_after(60):
        while len(messages) < count:
            messages += await receiver.receive_batch(7)
    with pytest.raises(trio.WouldBlock):
        receiver.receive_nowait()
    return [payload for payload, _ in messages]


@pytest.mark.parametrize(
    "sizes",
    [
        [1200] * 40,
        [1200] * 5 + [700] + [1200] * 5,
        [700] + [1200] * 5,
        # Elsewhere an empty one would pass those that the kernel still keeps.
        [0, 1200, 1, 1200, 1200],
        [64] * 200,
        [1472, 1471] * 10,
    ],
    ids=lambda sizes: f"{len(sizes)} of {sizes[0]}",
)
async def test_what_was_sent_one_by_one_comes_apart_again(sockets, sizes):
    sender, receiver, target = sockets
    payloads = [
        i.to_bytes(2, "big")[: min(size, 2)].ljust(size, b".")
        for i, size in enumerate(sizes)
    ]
    for payload in payloads:
        sender.sendto(payload, target)
    assert await receive_by_sevens(receiver, len(payloads)) == payloads
    statistics = receiver.statistics()
    assert statistics.datagrams_received == len(payloads)
    assert (statistics.truncated, statistics.kernel_drops) == (0, 0)


async def test_the_kernel_does_put_them_together(sockets):
    sender, receiver, target = sockets
    for _ in range(40):
        sender.sendto(bytes(1200), target)
    # Nothing is asked for but what fits one slot.
    await trio.lowlevel.wait_readable(receiver.socket)
    [first] = await receiver.receive_batch(1)
    slots = receiver._receive.inbox.memory.arena
    received = [first]
    while len(received) < 40:
        received += await receiver.receive_batch()
    assert slots.segment_sizes[0] == 1200
    assert slots.sizes[0] > 1200


async def test_senders_are_told_apart_in_what_is_put_together(
    sockets, coalescing_hosts
):
    sender, receiver, target = sockets
    near, _ = coalescing_hosts
    with near.socket(socket.AF_INET, socket.SOCK_DGRAM) as other:
        for i in range(20):
            sender.sendto(b"%04d" % i, target)
            other.sendto(b"%04d" % (1000 + i), target)
        ports = [sock.getsockname()[1] for sock in (sender, other)]
    arrived = []
    with trio.fail_after(60):
        while len(arrived) < 40:
            arrived += await receiver.receive_batch()
    for port, start in zip(ports, (0, 1000), strict=True):
        assert [
            payload for payload, address in arrived if address[1] == port
        ] == [b"%04d" % (start + i) for i in range(20)]


async def test_each_train_has_its_own_metadata(sockets):
    sender, receiver, target = sockets
    with pytest.raises(trio.WouldBlock):
        receiver.receive_messages_nowait()
    for i in range(16):
        sender.setsockopt(socket.IPPROTO_IP, socket.IP_TOS, i // 4)
        sender.sendto(bytes([i]) * 100, target)
    messages = []
    with trio.fail_after(60):
        while len(messages) < 16:
            messages += await receiver.receive_messages(3)
    assert [
        (message.payload, message.metadata.ecn) for message in messages
    ] == [(bytes([i]) * 100, i // 4) for i in range(16)]
    assert {message.metadata.local_address for message in messages} == {
        "10.77.0.2"
    }


async def test_a_report_from_the_other_host_names_it(coalescing_hosts):
    near, far = coalescing_hosts
    with far.socket(socket.AF_INET, socket.SOCK_DGRAM) as unused:
        unused.bind(("10.77.0.2", 0))
        gone = unused.getsockname()
    sock = near.socket(socket.AF_INET, socket.SOCK_DGRAM)
    async with DatagramSocket(
        trio.socket.from_stdlib_socket(sock), error_queue=True
    ) as sender:
        await sender.send(b"x", gone, metadata=Metadata(ttl=9))
        with trio.fail_after(60):
            (error,) = await sender.receive_errors()
    assert (error.address, error.offender) == (gone, "10.77.0.2")
    assert (error.errno, error.payload) == (errno.ECONNREFUSED, b"x")
