"""A batch sender of datagrams: each is sent once, or told to be unsent."""

from __future__ import annotations

import contextlib
import errno
import itertools

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
    has,
    machine_test,
)
from trio import socket as tsocket
from trio.testing import wait_all_tasks_blocked

from triobatch import (
    Buffers,
    DatagramError,
    DatagramErrorGroup,
    Datagrams,
    DatagramSocket,
    open_batch_sender,
)
from triobatch.testing import os_error, scripted_calls

sizes = st.lists(
    st.sampled_from([4, 5, 1200, 1200, 1200, 9000]), min_size=1, max_size=8
)
patience = st.one_of(st.none(), st.integers(0, 3))
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
                errno.EPERM,
                errno.ECONNREFUSED,
            ]
        ).map(os_error),
    ),
    max_size=10,
)
ENDS = ["leave", "error", "aclose"]
ENDED = (trio.ClosedResourceError, trio.BrokenResourceError)


class EndError(Exception):
    """What ends a block."""


def number_of(payload):
    return int.from_bytes(payload[:4], "big")


class SenderMachine(RuleBasedStateMachine):
    """The rules write a program, and the end runs it."""

    @initialize(
        family=st.sampled_from(DATAGRAM_FAMILIES),
        max_buffered=st.sampled_from([0, 1000, 2**18]),
        script=steps,
        disturbance=disturbances,
        end=st.sampled_from(ENDS),
        errors=st.sampled_from(["raise", "ignore"]),
        reads=st.booleans(),
    )
    def begin(
        self, family, max_buffered, script, disturbance, end, errors, reads
    ):
        self.family, self.script, self.end = family, script, end
        self.max_buffered, self.errors = max_buffered, errors
        self.disturbance = disturbance
        self.reads = reads or end == "leave"
        self.program = []

    @rule(
        size=sizes.map(lambda sizes: sizes[0]),
        way=st.sampled_from(["send", "queue", "nowait", "Buffers"]),
        patience=patience,
    )
    def send(self, size, way, patience):
        self.program.append((self.do_send, size, way, patience))

    @rule(sizes=sizes, patience=patience)
    def send_batch(self, sizes, patience):
        self.program.append((self.do_send_batch, sizes, patience))

    @rule(sizes=sizes, way=st.sampled_from(["many", "nowait"]))
    def send_beside(self, sizes, way):
        self.program.append((self.do_send_beside, sizes, way))

    @rule(patience=patience)
    def flush(self, patience):
        self.program.append((self.do_flush, patience))

    @rule(count=st.integers(1, 3))
    def wait(self, count):
        self.program.append((self.do_wait, count))

    def teardown(self):
        if hasattr(self, "program"):
            self.play()

    async def patiently(self, patience, call, *args):
        with trio.CancelScope() as scope:
            async with trio.open_nursery() as nursery:
                if patience is not None:
                    nursery.start_soon(self.cancel, scope, patience)
                await call(*args)
                nursery.cancel_scope.cancel()

    async def cancel(self, scope, patience):
        await self.do_wait(patience)
        scope.cancel()

    def payload(self, size):
        number = next(self.numbers)
        return number.to_bytes(4, "big") + bytes(size - 4)

    async def do_send(self, size, way, patience):
        self.nursery.start_soon(
            self.patiently, patience, self.send_one, size, way
        )

    async def send_one(self, size, way):
        payload = self.payload(size)
        data = payload
        if way == "Buffers":
            data = Buffers([payload[:2], payload[2:]])
        done = False
        try:
            if way == "queue":
                await self.sender.queue(data)
            elif way == "nowait":
                self.sender.send_nowait(data)
            else:
                await self.sender.send(data)
            done = True
        except ENDED:
            pass
        except trio.WouldBlock:
            assert way == "nowait"
        except DatagramError:
            assert way in {"send", "Buffers"}
        finally:
            if way in {"queue", "nowait"}:
                # What becomes of it is told at the end.
                place = self.queued if done else self.never
            else:
                place = self.sent if done else self.never
                if way == "Buffers":
                    assert bool(data) is not done
            place.add(payload)

    async def do_send_batch(self, sizes, patience):
        self.nursery.start_soon(
            self.patiently, patience, self.send_whole_batch, sizes
        )

    async def send_whole_batch(self, sizes):
        payloads = [self.payload(size) for size in sizes]
        queue = Datagrams([(payload, None) for payload in payloads])
        sent = None
        try:
            sent = await self.sender.send_batch(queue)
        except ENDED:
            pass
        except DatagramErrorGroup as group:
            sent = group.sent
            told = len(group.exceptions) == len(queue)
            assert told
            assert self.errors == "raise"
        finally:
            left = {payload for payload, _ in queue}
            self.never |= left
            gone = set(payloads) - left
            if self.errors == "raise":
                self.sent |= gone
                assert sent in (None, len(gone))
            else:
                # Some were dropped, which only the count tells.
                self.perhaps |= gone

    async def do_send_beside(self, sizes, way):
        self.nursery.start_soon(self.send_past, sizes, way)

    async def send_past(self, sizes, way):
        payloads = [self.payload(size) for size in sizes]
        self.perhaps |= set(payloads)
        with contextlib.suppress(
            DatagramErrorGroup,
            trio.BusyResourceError,
            trio.ClosedResourceError,
            trio.WouldBlock,
        ):
            if way == "many":
                await self.socket.send_many(payloads)
            else:
                self.socket.send_many_nowait(payloads)

    async def do_flush(self, patience):
        self.nursery.start_soon(self.patiently, patience, self.flush_and_look)

    async def flush_and_look(self):
        before = set(self.queued)
        self.flushes += 1
        with contextlib.suppress(*ENDED, DatagramErrorGroup):
            try:
                await self.sender.flush()
            finally:
                self.flushes -= 1
            self.flushed |= before

    async def do_wait(self, count):
        for _ in range(count):
            await trio.lowlevel.checkpoint()

    async def listen(self):
        with (
            tsocket.from_stdlib_socket(self.peer.dup()) as peer,
            contextlib.suppress(ConnectionRefusedError),
        ):
            while True:
                self.received.append(await peer.recv(65536))

    async def all_leaves(self):
        """See that nothing stays queued, and nobody waits for that, in vain.

        The peer reads.
        """
        with trio.fail_after(60):
            statistics = self.sender.statistics
            while self.flushes or statistics().buffered_size:  # noqa: ASYNC110
                await trio.sleep(0.001)

    async def run(self):
        async with open_batch_sender(
            self.socket, max_buffered=self.max_buffered
        ) as sender:
            self.sender = sender
            sender.errors = self.errors
            async with trio.open_nursery() as self.nursery:
                for call, *args in self.program:
                    await call(*args)
                if self.reads:
                    await self.all_leaves()
                if self.end == "leave":
                    return
                await wait_all_tasks_blocked()
                if self.end == "aclose":
                    await self.socket.aclose()
                    self.nursery.cancel_scope.cancel()
                else:
                    raise EndError

    def play(self):
        ours, self.peer = datagram_sockets(self.family)
        self.socket = DatagramSocket(tsocket.from_stdlib_socket(ours))
        self.numbers = itertools.count()
        self.queued, self.sent, self.never = set(), set(), set()
        self.perhaps, self.flushed = set(), set()
        self.received = []
        self.flushes = 0
        self.sender = None
        with ours, self.peer:
            with scripted_calls(self.socket, sending=self.script):
                result = disturbed(
                    self.run,
                    *self.disturbance,
                    beside=[self.listen] if self.reads else (),
                )
            ours.close()
            with contextlib.suppress(BlockingIOError, ConnectionRefusedError):
                while True:
                    self.received.append(self.peer.recv(65536))
        self.check(result)

    def check(self, result):
        sender = self.sender
        if sender is None:
            assert result is DISTURBED
            return
        received = set(self.received)
        assert len(received) == len(self.received)
        unsent = {payload for payload, _ in sender.unsent}
        refused = self.socket.statistics().refused
        assert not received & self.never
        assert not received & unsent
        assert not unsent & self.flushed
        if self.errors == "raise":
            assert self.sent <= received
        else:
            assert len(self.sent - received) <= refused
        # Those that were refused are told of by nobody else.
        assert len(self.queued - received - unsent) <= refused
        assert unsent <= self.queued
        assert received <= self.queued | self.sent | self.perhaps
        if isinstance(result, outcome.Value):
            assert not unsent
        elif result is not DISTURBED:
            assert any(
                has(result.error, kind)
                for kind in (EndError, DatagramErrorGroup, *ENDED)
            )


TestDatagramSender = machine_test(SenderMachine)
