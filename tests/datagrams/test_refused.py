"""What a batch comes to, beside a loop of ``sendto`` over the same datagrams.

Some of them are refused, by Linux over loopback or by a kernel that has its
faults from the test: each gets the errno that it would have got alone, and
each of the others arrives, once and in order.
"""

from __future__ import annotations

import errno
import os
import socket
import sys
from dataclasses import dataclass, field

import pytest
import trio
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from trio.testing import MockClock

import triobatch
from triobatch import (
    DatagramError,
    DatagramErrorGroup,
    Datagrams,
    DatagramSocket,
    Metadata,
    Run,
)
from triobatch._wire.metadata import encode_metadata
from triobatch.testing._kernel_calls import KernelCalls

pytestmark = pytest.mark.skipif(
    sys.platform != "linux", reason="its errnos are what is compared"
)

# Those of one destination, and of one size, go in ways of their own.
ONE_SIZE = {"send_segments", "send_runs"}
ONE_PEER = {"send_many", *ONE_SIZE}
WAYS = ["send_batch", "queue", "nowait", "one by one", "sender", *ONE_PEER]

example_settings = settings(
    max_examples=80,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=list(HealthCheck),
)


@dataclass
class Outcome:
    """What became of some datagrams: how many went, and the others' errnos."""

    sent: int = 0
    refused: dict[int, int] = field(default_factory=dict)
    # In a queue.
    left: list[bytes] | None = None


def payload_of(number, size):
    return (number.to_bytes(4, "big") + bytes(size))[:size]


def number_of(payload):
    return int.from_bytes(payload[:4], "big")


async def send_by(way, sock, items, errors, outcome):
    """Send ``(payload, address, metadata)`` in one of the ways."""
    payloads = [payload for payload, _, _ in items]
    pairs = [
        (payload, address, metadata) if metadata else (payload, address)
        for payload, address, metadata in items
    ]
    address = items[0][1]
    size = len(payloads[0])
    queue = Datagrams(pairs)
    try:
        if way == "send_batch":
            outcome.sent = await sock.send_batch(pairs, errors=errors)
        elif way == "queue":
            outcome.sent = await sock.send_batch(queue, errors=errors)
        elif way == "nowait":
            await send_nowait(sock, queue, errors, outcome)
        elif way == "one by one":
            await send_each(sock, items, errors, outcome)
        elif way == "sender":
            async with triobatch.open_batch_sender(sock) as sender:
                sender.errors = errors
                outcome.sent = await sender.send_batch(pairs)
        elif way == "send_many":
            outcome.sent = await sock.send_many(
                payloads, address, errors=errors
            )
        elif way == "send_segments":
            outcome.sent = await sock.send_segments(
                b"".join(payloads), size, address, errors=errors
            )
        else:
            runs = [
                Run(b"".join(payloads[start : start + 7]), size)
                for start in range(0, len(payloads), 7)
            ]
            outcome.sent = await sock.send_runs(runs, address, errors=errors)
    except DatagramErrorGroup as group:
        outcome.sent = group.sent
        outcome.refused = {each.index: each.errno for each in group.exceptions}
    finally:
        if way == "queue":
            outcome.left = [payload for payload, *_ in queue]


async def send_nowait(sock, queue, errors, outcome):
    while queue:
        numbers = [number_of(payload) for payload, *_ in queue]
        try:
            outcome.sent += sock.send_batch_nowait(queue, errors=errors)
        except trio.WouldBlock:
            await trio.sleep(0.001)
        except DatagramErrorGroup as group:
            outcome.sent += group.sent
            refused = {
                numbers[each.index]: each.errno for each in group.exceptions
            }
            outcome.refused |= refused
            left = [
                item for item in queue if number_of(item[0]) not in refused
            ]
            assert len(queue) == len(left) + len(refused)
            queue.clear()
            queue.extend(left)


async def send_each(sock, items, errors, outcome):
    for index, (payload, address, metadata) in enumerate(items):
        try:
            await sock.send(payload, address, metadata=metadata, errors=errors)
            outcome.sent += 1
        except DatagramError as error:
            outcome.refused[index] = error.errno


def check(way, outcome, wanted, count, errors, sock):
    """Compare with the errnos that a loop has met."""
    sent = count - len(wanted)
    statistics = sock.statistics()
    assert statistics.datagrams_sent == sent
    assert statistics.refused == len(wanted)
    # ``send`` returns nothing, and does not say what it ignored.
    assert outcome.sent == sent or way == "one by one"
    assert outcome.refused == (wanted if errors == "raise" else {})


# Linux, over loopback.

GOOD = ["127.0.0.1", "127.0.0.2", "127.0.0.3"]
BAD = [
    *(("127.0.0.1", 0), ("::1", 9), ("255.255.255.255", 9)),
    # Nobody is there, and nobody says so to who is not connected.
    ("127.0.0.66", 9),
]
METADATA = [Metadata(ttl=5), Metadata(local_address="192.0.2.1")]


@st.composite
def batches(draw, sizes, addresses):
    """Draw a way, and datagrams for it, as numbers and indices."""
    way = draw(st.sampled_from(WAYS))
    count = draw(st.one_of(st.integers(1, 8), st.sampled_from([63, 64, 70])))
    one_size, one_peer = draw(sizes), draw(addresses)
    alike = draw(st.booleans())
    items = []
    for number in range(count):
        size = one_size if alike or way in ONE_SIZE else draw(sizes)
        peer = one_peer if alike or way in ONE_PEER else draw(addresses)
        # An empty segment is none, and one without its number not found.
        if way in ONE_SIZE or way == "nowait":
            size = max(size, 4)
        items.append((number, size, peer))
    return way, items


def send_in_a_loop(sock, items):
    """Return the errno of each that was refused, by its index."""
    refused = {}
    for index, (payload, address, metadata) in enumerate(items):
        number = send_once(sock, payload, address, metadata)
        if number:
            refused[index] = number
    return refused


def send_once(sock, payload, address, metadata):
    control = encode_metadata(metadata, socket.AF_INET) if metadata else ()
    to = (address,) if address else ()
    while True:
        try:
            sock.sendmsg([payload], control, 0, *to)
        except ConnectionRefusedError:
            # Of one that went before.
            continue
        except socket.gaierror:
            # What Python says of an IPv6 host, and the kernel is not asked.
            return errno.EAFNOSUPPORT
        except OSError as error:
            return error.errno
        return 0


def received(sock):
    payloads = []
    try:
        while True:
            payloads.append(sock.recv(2**16))
    except BlockingIOError:
        return payloads


def udp_socket(peer=None):
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.setblocking(False)
    if peer is not None:
        sock.connect(peer)
    return sock


@example_settings
@given(
    batches(
        st.sampled_from([0, 4, 100, 1200, 1472, 9000, 65508]),
        st.integers(0, len(GOOD) + len(BAD)),
    ),
    st.sampled_from([None, "somebody", "nobody"]),
    st.sampled_from(["raise", "ignore"]),
    st.sampled_from([None, None, *METADATA]),
)
def test_linux_refuses_the_same_of_a_batch(batch, connected, errors, metadata):
    way, drawn = batch
    if way in ONE_PEER:
        metadata = None
    receivers = [udp_socket() for _ in GOOD]
    for sock, host in zip(receivers, GOOD, strict=True):
        sock.bind((host, 0))
    with udp_socket() as closed:
        closed.bind(("127.0.0.1", 0))
        nobody = closed.getsockname()
    good = [sock.getsockname() for sock in receivers]
    peer = {None: None, "somebody": good[0], "nobody": nobody}[connected]
    addresses = [peer or nobody, *good, *BAD]
    if connected:
        addresses[0] = None
    items, total = [], 0
    for number, size, to in drawn:
        total += size
        # As much as a buffer holds of large ones.
        if total > 80_000 and items:
            break
        own = metadata if number % 3 == 0 else None
        items.append((payload_of(number, size), addresses[to], own))

    outcome = Outcome()

    async def main(sock):
        async with DatagramSocket(trio.socket.from_stdlib_socket(sock)) as own:
            await send_by(way, own, items, errors, outcome)
            check(way, outcome, wanted, len(items), errors, own)

    try:
        with udp_socket(peer) as plain:
            wanted = send_in_a_loop(plain, items)
        arrived = list(map(received, receivers))
        trio.run(main, udp_socket(peer))
        assert list(map(received, receivers)) == arrived
    finally:
        for sock in receivers:
            sock.close()
    if way == "queue":
        kept = sorted(wanted) if errors == "raise" else ()
        assert outcome.left == [items[index][0] for index in kept]


# A kernel that refuses what it is told to.

PASSING = [errno.EAGAIN, errno.ENOBUFS, errno.ECONNREFUSED]
LASTING = [errno.EMSGSIZE, errno.EPERM, errno.EACCES]
# Of a run alone: it is not cut up on this route.
ONLY_CUT = [errno.EIO, errno.EINVAL]


class FaultyKernel(KernelCalls):
    """Takes datagrams, but for those that have a fault.

    Args:
      faults: The errno of each that has one, by its number.
      cancel_at: Which call the scope is cancelled in, 0 for none.
      scope: What is cancelled.
    """

    def __init__(self, faults, cancel_at, scope):
        super().__init__(64)
        self.taken = []
        self.calls = 0
        self._faults = dict(faults)
        self._cancel_at = cancel_at
        self._scope = scope

    def _send(self, fd, payload, segment_size, peer, control):
        self.calls += 1
        if self.calls == self._cancel_at:
            self._scope.cancel()
        step = segment_size or len(payload)
        numbers = [
            number_of(payload[start : start + step])
            for start in range(0, len(payload), step)
        ]
        for number in numbers:
            fault = self._faults.get(number, 0)
            if fault in PASSING:
                del self._faults[number]
            if fault and (segment_size or fault not in ONLY_CUT):
                raise OSError(fault, os.strerror(fault))
        self.taken += [(number, peer) for number in numbers]


@example_settings
@given(
    batches(st.sampled_from([4, 100, 1200]), st.integers(0, 2)),
    st.lists(
        st.tuples(
            st.integers(0, 69),
            st.one_of(
                st.sampled_from(PASSING),
                st.sampled_from(LASTING + ONLY_CUT),
            ),
        ),
        # So few that no run meets more congestion than one has tries.
        max_size=5,
    ),
    st.sampled_from(["raise", "ignore"]),
    st.one_of(st.just(0), st.integers(1, 8)),
)
def test_every_fault_is_its_own_datagrams(batch, faults, errors, cancel_at):
    way, drawn = batch
    items = [
        (payload_of(number, size), (GOOD[to], 9), None)
        for number, size, to in drawn
    ]
    faults = {number: fault for number, fault in faults if number < len(items)}
    wanted = {
        number: fault for number, fault in faults.items() if fault in LASTING
    }
    outcome = Outcome()

    async def main():
        with trio.CancelScope() as scope:
            kernel = FaultyKernel(faults, cancel_at, scope)
            trio_socket = trio.socket.from_stdlib_socket(udp_socket())
            async with DatagramSocket(trio_socket) as sock:
                sock._send.outlet.kernel = kernel
                await send_by(way, sock, items, errors, outcome)
                check(way, outcome, wanted, len(items), errors, sock)
        return kernel.taken, scope.cancelled_caught

    taken, cancelled = trio.run(main, clock=MockClock(autojump_threshold=0))
    numbers = [number for number, _ in taken]
    assert len(set(numbers)) == len(numbers)
    assert not wanted.keys() & set(numbers)
    for peer in {peer for _, peer in taken}:
        to_one = [number for number, to in taken if to == peer]
        assert to_one == sorted(to_one)
    if not cancelled:
        assert len(numbers) == len(items) - len(wanted)
    if way == "queue":
        # What went is not in it, and what neither went nor was ignored is.
        left = [number_of(payload) for payload in outcome.left]
        gone = set(numbers)
        if errors == "ignore":
            gone |= wanted.keys() - set(left)
        assert sorted(left) == [n for n in range(len(items)) if n not in gone]
        for host in GOOD:
            # Destinations are put side by side, each in its order.
            to_one = [n for n in left if items[n][1][0] == host]
            assert to_one == sorted(to_one)
        assert cancelled or errors == "raise" or not left
