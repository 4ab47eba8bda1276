"""A datagram socket and its peer, beside lists of what is on its way.

Each datagram has a number of its own, so one that is lost, doubled or out of
order is found at once.
"""

from __future__ import annotations

import contextlib
import errno
import itertools
from collections import deque

import outcome
import trio
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule
from machines import (
    DATAGRAM_FAMILIES,
    DISTURBED,
    datagram_sockets,
    disturbances,
    disturbed,
    machine_test,
)
from trio import socket as tsocket

from triobatch import (
    Buffers,
    DatagramError,
    DatagramErrorGroup,
    Datagrams,
    DatagramSocket,
    Metadata,
)
from triobatch._wire.addresses import AF_INET
from triobatch._wire.metadata import metadata_options
from triobatch.testing import os_error, scripted_calls

REFUSED = errno.EPERM
sizes = st.one_of(
    st.lists(st.sampled_from([4, 5, 1200, 9000]), min_size=1, max_size=12),
    st.tuples(st.sampled_from([4, 1200]), st.integers(1, 80)).map(
        lambda pair: [pair[0]] * pair[1]
    ),
)
steps = st.lists(
    st.one_of(
        st.sampled_from([1, 2, None]),
        st.sampled_from(
            [
                errno.EAGAIN,
                errno.EINTR,
                errno.ENOBUFS,
                errno.EIO,
                errno.EINVAL,
                errno.ECONNREFUSED,
                errno.EHOSTUNREACH,
                REFUSED,
            ]
        ).map(os_error),
    ),
    max_size=6,
)
receive_steps = st.lists(
    st.sampled_from(
        [1, 2, None] + [os_error(n) for n in (errno.EAGAIN, errno.EINTR)]
    ),
    max_size=4,
)
WAYS = ["send", "send_many", "send_batch", "send_segments", "sequence"]


def number_of(payload):
    return int.from_bytes(payload[:4], "big")


def received(sock):
    """Return the payloads that have arrived at a standard socket."""
    payloads = []
    # The other one may be closed.
    with contextlib.suppress(BlockingIOError, ConnectionRefusedError):
        while True:
            payloads.append(sock.recv(65536))
    return payloads


class DatagramMachine(RuleBasedStateMachine):
    """What the socket sent and the peer got, and the other way round."""

    @initialize(family=st.sampled_from(DATAGRAM_FAMILIES))
    def connect(self, family):
        self.family = family
        self.ours, self.peer = datagram_sockets(family)
        self.socket = DatagramSocket(tsocket.from_stdlib_socket(self.ours))
        self.numbers = itertools.count()
        self.arrived = []
        self.asked = deque()
        self.closed = False

    def teardown(self):
        if hasattr(self, "peer"):
            self.peer.close()
            self.ours.close()

    def payload(self, size):
        return next(self.numbers).to_bytes(4, "big") + bytes(size - 4)

    async def listen(self):
        """Be a peer that receives all."""
        with (
            tsocket.from_stdlib_socket(self.peer.dup()) as peer,
            contextlib.suppress(ConnectionRefusedError),
        ):
            while True:
                self.arrived.append(await peer.recv(65536))

    @rule(
        sizes=sizes,
        way=st.sampled_from(WAYS),
        errors=st.sampled_from(["raise", "ignore"]),
        marked=st.booleans(),
        reads=st.booleans(),
        script=steps,
        disturbance=disturbances,
    )
    def send(self, sizes, way, errors, marked, reads, script, disturbance):
        sock = self.socket
        if way == "send_segments":
            sizes = [sizes[0]] * len(sizes)
            sizes = sizes[: 65507 // sizes[0]]
        if way == "send":
            sizes = sizes[:1]
        payloads = [self.payload(size) for size in sizes]
        queue = Datagrams([(payload, None) for payload in payloads])
        buffers = Buffers([payloads[0][:2], payloads[0][2:]])
        metadata = None
        if marked and self.family == "udp" and metadata_options(AF_INET):
            metadata = Metadata(tos=1)
        options = {"metadata": metadata}
        if way != "send":
            options["errors"] = errors

        async def operation():
            if way == "send":
                return await sock.send(buffers, **options)
            if way == "send_many":
                return await sock.send_many(payloads, **options)
            if way == "send_batch":
                return await sock.send_batch(queue, **options)
            if way == "sequence":
                return await sock.send_batch(list(queue), **options)
            return await sock.send_segments(
                b"".join(payloads), sizes[0], **options
            )

        before = sock.statistics()
        reads = reads or disturbance[0] is None
        with scripted_calls(sock, sending=script):
            result = disturbed(
                operation,
                *disturbance,
                beside=[self.listen] if reads else (),
            )
        self.arrived += received(self.peer)
        arrived, self.arrived = self.arrived, []
        numbers = [number_of(payload) for payload in arrived]
        # Once each, in their order, and whole.
        assert numbers == sorted(set(numbers))
        assert set(arrived) <= set(payloads)
        after = sock.statistics()
        sent = after.datagrams_sent - before.datagrams_sent
        refused = after.refused - before.refused
        assert sent == len(arrived)
        if way == "send_batch":
            left = [payload for payload, _ in queue]
            ignored = refused if errors == "ignore" else 0
            assert len(left) + len(arrived) + ignored == len(payloads)
            assert not set(left) & set(arrived)
            assert left == sorted(left, key=number_of)
        if way == "send":
            assert bool(buffers) == (not arrived)
        self.check_result(
            result, way, errors, len(payloads), len(arrived), refused
        )

    def check_result(self, result, way, errors, offered, arrived, refused):
        if result is DISTURBED:
            return
        if self.closed:
            assert isinstance(result.error, trio.ClosedResourceError)
        elif isinstance(result, outcome.Value):
            assert result.value == (None if way == "send" else arrived)
            assert arrived == offered - refused
            assert not refused or errors == "ignore"
        elif way == "send":
            assert isinstance(result.error, DatagramError)
            assert refused == 1
        else:
            assert isinstance(result.error, DatagramErrorGroup)
            assert errors == "raise"
            assert result.error.sent == arrived
            assert len(result.error.exceptions) == refused
            assert arrived == offered - refused

    @rule(sizes=sizes, way=st.sampled_from(WAYS), script=steps)
    def send_nowait(self, sizes, way, script):
        sock = self.socket
        if way != "send_batch":
            way = "send_many"
        payloads = [self.payload(size) for size in sizes]
        queue = Datagrams([(payload, None) for payload in payloads])
        sent = 0
        with scripted_calls(sock, sending=script):
            try:
                if way == "send_many":
                    sent = sock.send_many_nowait(payloads)
                else:
                    sent = sock.send_batch_nowait(queue)
            except DatagramErrorGroup as group:
                sent = group.sent
            except trio.WouldBlock:
                pass
            except trio.ClosedResourceError:
                assert self.closed
        arrived = received(self.peer)
        numbers = [number_of(payload) for payload in arrived]
        assert numbers == sorted(set(numbers))
        assert set(arrived) <= set(payloads)
        assert len(arrived) == sent
        if way == "send_batch":
            left = [payload for payload, _ in queue]
            assert sorted(left + arrived, key=number_of) == payloads

    @rule(sizes=sizes)
    def peer_sends(self, sizes):
        for size in sizes:
            payload = self.payload(size)
            try:
                self.peer.send(payload)
            except (BlockingIOError, OSError):
                return
            if not self.closed:
                self.asked.append(payload)

    @rule(
        limit=st.sampled_from([1, 2, 64]),
        way=st.sampled_from(["receive", "batch", "messages", "runs"]),
        script=receive_steps,
        disturbance=disturbances,
    )
    def receive(self, limit, way, script, disturbance):
        sock = self.socket
        if not self.closed and not self.asked and disturbance[0] is None:
            return
        # What was got when the operation was disturbed after it.
        got = []

        async def operation():
            if way == "receive":
                got.append((await sock.receive())[0])
            elif way == "batch":
                got.extend(p for p, _ in await sock.receive_batch(limit))
            elif way == "messages":
                got.extend(
                    message.payload
                    for message in await sock.receive_messages(limit)
                )
            else:
                await self.receive_runs(limit, got)

        with scripted_calls(sock, receiving=script):
            result = disturbed(operation, *disturbance)
        if self.closed:
            assert not got
            assert result is DISTURBED or isinstance(
                result.error, trio.ClosedResourceError
            )
            return
        if isinstance(result, outcome.Error) and result is not DISTURBED:
            raise result.error
        expected = [self.asked.popleft() for _ in got]
        assert got == expected
        assert got or result is DISTURBED
        if way in {"batch", "messages"}:
            assert len(got) <= limit

    async def receive_runs(self, limit, got):
        async with self.socket.receive_runs(limit * 1000) as runs:
            for run in runs:
                data, size = bytes(run.data), run.segment_size or 1
                got += [
                    data[start : start + size]
                    for start in range(0, max(len(data), 1), size)
                ]

    @rule(disturbance=disturbances)
    def close(self, disturbance):
        result = disturbed(self.socket.aclose, *disturbance)
        assert result is DISTURBED or result == outcome.Value(None)
        assert self.ours.fileno() == -1
        self.closed = True


TestDatagramSocket = machine_test(DatagramMachine)
