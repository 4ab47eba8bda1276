"""Hosts that send in every way on a bad network, from many seeds.

What a call says it has sent, and nothing else, has left; what has left is
accounted for by the network; and what arrives was sent.
"""

from __future__ import annotations

import errno
import itertools
import socket

import pytest
import trio
from machines import EXAMPLES

from triobatch import (
    Buffers,
    DatagramError,
    DatagramErrorGroup,
    Datagrams,
    Metadata,
    open_batch_sender,
)
from triobatch._wire.metadata import metadata_options
from triobatch.testing import NetworkConditions, simulate

# What has failed once comes first.
MARKS = Metadata(tos=1) if metadata_options(socket.AF_INET) else None

SEEDS = [*range(EXAMPLES or 5)]
HOSTS = ["10.0.0.1", "10.0.0.2", "10.0.0.3", "fd00::1", "fd00::2"]
SIZES = [8, 8, 9, 1000, 1000, 1000, 1400, 1473, 5000, 60_000]
WAYS = [
    *("send", "many", "batch", "segments", "many_nowait", "batch_nowait"),
    *("sender", "sender_batch", "sender_queue"),
]


class World:
    """The sockets, and what is known of each datagram.

    Attributes:
      left: Those that were sent, as far as the calls said.
      kept: Those that were not.
      arrived: How often each has arrived.
    """

    def __init__(self, network):
        self.network = network
        self.choose = network.random
        self.numbers = itertools.count()
        self.left, self.kept, self.perhaps = set(), set(), set()
        self.arrived = {}
        self.closed_counts = []
        self.sockets = []
        self.senders = {}

    def conditions(self):
        r = self.choose.random
        pick = self.choose.choice
        return NetworkConditions(
            delay=pick([0, 0, 0.01, 0.2]),
            jitter=pick([0, 0, 0.05]),
            loss=pick([0, 0, 0.1]),
            duplication=pick([0, 0, 0.1]),
            rate=pick([None, None, 10_000 + 1e6 * r()]),
            mtu=pick([1500, 1500, 1280, 9000]),
            gso_refusal=pick([0, 0, 0, errno.EIO, errno.EINVAL]),
            congestion=pick([0, 0, 0.05, 0.5]),
            reports=pick([True, True, False]),
        )

    def payload(self, size):
        return next(self.numbers).to_bytes(8, "big") + bytes(size - 8)

    def open(self, host):
        peers = [a for _, a in self.sockets if (":" in a[0]) == (":" in host)]
        pick = self.choose.choice
        remote = pick([None, None, *peers]) if peers else None
        sock = self.network.open_socket(
            (host, 0),
            remote_address=remote and remote[:2],
            error_queue=pick([True, False]),
            send_buffer_size=pick([2000, 200_000]),
            receive_buffer_size=pick([5000, 200_000]),
        )
        self.sockets.append((sock, sock.local_address))
        return sock

    async def live(self, host):
        """Open a socket, use it for a while, and close it; again and again."""
        while True:
            sock = self.open(host)
            async with open_batch_sender(sock) as sender:
                sender.errors = "ignore"
                with trio.move_on_after(30 * self.choose.random()):
                    async with trio.open_nursery() as nursery:
                        nursery.start_soon(self.receive, sock)
                        for _ in range(2):
                            nursery.start_soon(self.send, sock, sender)
            # What waits no more has left before the statistics are read.
            await sock.aclose()
            self.closed_counts.append(sock.statistics().datagrams_sent)
            self.sockets = [s for s in self.sockets if s[0] is not sock]
            for payload, *_ in sender.unsent:
                self.kept.add(bytes(payload[:8]))
                self.left.discard(bytes(payload[:8]))

    async def receive(self, sock):
        while True:
            how = self.choose.choice(["batch", "messages", "runs", "one"])
            if how == "batch":
                payloads = [p for p, _ in await sock.receive_batch()]
            elif how == "messages":
                payloads = [m.payload for m in await sock.receive_messages()]
            elif how == "one":
                payloads = [(await sock.receive())[0]]
            else:
                async with sock.receive_runs() as runs:
                    payloads = [bytes(d) for run in runs for d in run]
            for payload in payloads:
                name = payload[:8]
                assert payload[8:] == bytes(len(payload) - 8)
                self.arrived[name] = self.arrived.get(name, 0) + 1
            if self.choose.random() < 0.1:
                await trio.sleep(self.choose.random())

    async def send(self, sock, sender):
        own = sock.local_address
        while True:
            await trio.sleep(self.choose.random())
            addresses = [
                address
                for _, address in self.sockets
                if (":" in address[0]) == (":" in own[0])
            ]
            if sock.remote_address is not None:
                addresses.append(None)
            address = self.choose.choice([*addresses, (own[0], 9)])
            way = self.choose.choice(WAYS)
            with trio.CancelScope() as scope:
                if self.choose.random() < 0.3:
                    scope.deadline = (
                        trio.current_time() + 0.01 * self.choose.random()
                    )
                await self.send_so(sock, sender, way, address)

    async def send_so(self, sock, sender, way, address):
        count = self.choose.choice([1, 1, 2, 10, 100])
        size = self.choose.choice(SIZES)
        sizes = [size] * count
        if self.choose.random() < 0.3:
            sizes = [self.choose.choice(SIZES) for _ in range(count)]
        if way == "segments":
            sizes = [size] * min(count, 60_000 // size)
        if way in {"send", "sender", "sender_queue"}:
            sizes = sizes[:1]
        payloads = [self.payload(size) for size in sizes]
        names = [payload[:8] for payload in payloads]
        marks = self.choose.choice([None, None, MARKS])
        queue = Datagrams([(payload, address) for payload in payloads])
        buffers = Buffers(payloads[:1])
        exact = False
        try:
            if way == "send":
                await sock.send(buffers, address, metadata=marks)
            elif way == "many":
                await sock.send_many(payloads, address, metadata=marks)
            elif way == "batch":
                exact = True
                await sock.send_batch(queue, metadata=marks)
            elif way == "segments":
                await sock.send_segments(b"".join(payloads), size, address)
            elif way == "many_nowait":
                sock.send_many_nowait(payloads, address)
            elif way == "batch_nowait":
                exact = True
                sock.send_batch_nowait(queue)
            elif way == "sender":
                await sender.send(buffers, address, errors="raise")
            elif way == "sender_batch":
                exact = True
                await sender.send_batch(queue, errors="raise")
            else:
                await sender.queue(payloads[0], address)
        except (
            DatagramError,
            DatagramErrorGroup,
            trio.WouldBlock,
            trio.ClosedResourceError,
            trio.BusyResourceError,
        ):
            pass
        finally:
            if way in {"send", "sender"}:
                exact, left = True, {bytes(data[:8]) for data in buffers}
            else:
                left = {bytes(payload[:8]) for payload, _ in queue}
            if exact:
                self.kept |= left
                self.left |= set(names) - left
            else:
                self.perhaps |= set(names)

    async def weather(self):
        while True:
            await trio.sleep(5 * self.choose.random())
            source, target = self.choose.choices([None, *HOSTS], k=2)
            self.network.set_conditions(
                self.conditions(), source=source, target=target
            )


async def main(network):
    world = World(network)
    async with trio.open_nursery() as nursery:
        for host in HOSTS:
            nursery.start_soon(world.live, host)
        nursery.start_soon(world.weather)
        await trio.sleep(20)
        nursery.cancel_scope.cancel()
    await trio.sleep(30)
    counts = network.statistics()
    open_now = [sock.statistics().datagrams_sent for sock, _ in world.sockets]
    # All that the calls count, the network has got.
    assert counts.sent == sum(open_now) + sum(world.closed_counts)
    assert counts.in_flight == 0
    assert counts.sent + counts.duplicated == (
        counts.lost
        + counts.too_large
        + counts.unreachable
        + counts.dropped
        + counts.delivered
    )
    arrived = world.arrived.keys()
    assert not arrived & world.kept
    assert arrived <= world.left | world.perhaps
    # A copy is the network's, and not ours.
    copies = sum(times - 1 for times in world.arrived.values())
    assert copies <= counts.duplicated
    return world


@pytest.mark.models
@pytest.mark.parametrize("seed", SEEDS)
def test_every_datagram_is_accounted_for(seed):
    world = simulate(main, seed=seed)
    assert len(world.arrived) > 10
