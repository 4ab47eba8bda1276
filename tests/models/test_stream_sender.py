"""A batch sender of a stream: every message whole, in order, accounted for."""

from __future__ import annotations

import contextlib
import errno
import itertools

import outcome
import pytest
import trio
from helpers import drain
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule
from machines import (
    DISTURBED,
    disturbances,
    disturbed,
    has,
    machine_test,
    stream_sockets,
)
from trio import socket as tsocket
from trio.testing import wait_all_tasks_blocked

from triobatch import BatchSocketStream, Buffers, open_batch_sender
from triobatch.testing import os_error, scripted_calls

HEADER = 12
sizes = st.sampled_from([0, 1, 100, 5000, 70_000])
patience = st.one_of(st.none(), st.integers(0, 3))
steps = st.lists(
    st.sampled_from(
        [1, 3, 4096, None] + [os_error(n) for n in (errno.EAGAIN, errno.EINTR)]
    ),
    max_size=8,
)
ENDS = ["leave", "error", "aclose", "EIO"]


class EndError(Exception):
    """What ends a block."""


def message(number, size):
    return b"%05d:%05d;" % (number, size) + b"%c" % (number % 251) * size


def parse(data):
    """Return the numbers of the messages, each of which is whole."""
    found = []
    while data:
        number, size = map(int, data[: HEADER - 1].split(b":"))
        end = HEADER + size
        assert data[:end] == message(number, size)
        found.append(number)
        data = data[end:]
    return found


class SenderMachine(RuleBasedStateMachine):
    """The rules write a program, and the end runs it."""

    @initialize(
        family=st.sampled_from(["unix", "tcp"]),
        max_buffered=st.sampled_from([0, 1000, 2**18]),
        grace=st.sampled_from([0, 0.01]),
        script=steps,
        disturbance=disturbances,
        end=st.sampled_from(ENDS),
        reads=st.booleans(),
    )
    def begin(
        self, family, max_buffered, grace, script, disturbance, end, reads
    ):
        self.family, self.script, self.end = family, script, end
        self.options = {"max_buffered": max_buffered, "grace": grace}
        self.disturbance = disturbance
        # Leaving waits for a peer that reads.
        self.reads = reads or end == "leave"
        self.program = []

    @rule(size=sizes, patience=patience, way=st.sampled_from(["", "Buffers"]))
    def send(self, size, patience, way):
        self.program.append((self.do_send, size, patience, way))

    @rule(size=sizes)
    def send_nowait(self, size):
        self.program.append((self.do_send_nowait, size))

    @rule(patience=patience)
    def flush(self, patience):
        self.program.append((self.do_flush, patience))

    @rule(sizes=st.lists(sizes, max_size=4), patience=patience)
    def cork(self, sizes, patience):
        self.program.append((self.do_cork, sizes, patience))

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
        for _ in range(patience):
            await trio.lowlevel.checkpoint()
        scope.cancel()

    async def do_send(self, size, patience, way):
        self.nursery.start_soon(self.send_one, size, patience, way)

    async def send_one(self, size, patience, way):
        await self.patiently(patience, self.send_message, size, way)

    async def send_message(self, size, way):
        number = next(self.numbers)
        data = message(number, size)
        with contextlib.suppress(
            trio.ClosedResourceError, trio.BrokenResourceError
        ):
            if way:
                data = Buffers([data[:5], data[5:]])
            await self.sender.send(data)
            self.queued.add(number)

    async def do_send_nowait(self, size):
        number = next(self.numbers)
        with contextlib.suppress(
            trio.WouldBlock,
            trio.ClosedResourceError,
            trio.BrokenResourceError,
        ):
            self.sender.send_nowait(message(number, size))
            self.queued.add(number)

    async def do_flush(self, patience):
        self.nursery.start_soon(self.patiently, patience, self.flush_and_look)

    async def flush_and_look(self):
        before = set(self.queued)
        self.flushes += 1
        with contextlib.suppress(
            trio.ClosedResourceError, trio.BrokenResourceError
        ):
            try:
                await self.sender.flush()
            finally:
                self.flushes -= 1
            self.flushed |= before

    async def do_cork(self, sizes, patience):
        with self.sender.corked():
            for size in sizes:
                await self.do_send_nowait(size)
            if patience is not None:
                await self.do_wait(patience)

    async def do_wait(self, count):
        for _ in range(count):
            await trio.lowlevel.checkpoint()

    async def listen(self):
        with (
            tsocket.from_stdlib_socket(self.peer.dup()) as peer,
            contextlib.suppress(ConnectionResetError),
        ):
            while data := await peer.recv(100_000):
                self.received += data

    async def all_leaves(self):
        """See that nothing stays queued, and nobody waits for that, in vain.

        The peer reads.
        """
        with trio.fail_after(60):
            statistics = self.sender.statistics
            while self.flushes or statistics().buffered_size:  # noqa: ASYNC110
                await trio.sleep(0.001)

    async def run(self):
        async with open_batch_sender(self.stream, **self.options) as sender:
            self.sender = sender
            async with trio.open_nursery() as self.nursery:
                for call, *args in self.program:
                    await call(*args)
                if self.reads:
                    await self.all_leaves()
                if self.end == "leave":
                    return
                await wait_all_tasks_blocked()
                if self.end == "aclose":
                    await self.stream.aclose()
                    self.nursery.cancel_scope.cancel()
                else:
                    raise EndError

    def play(self):
        ours, self.peer = stream_sockets(self.family)
        self.stream = BatchSocketStream(tsocket.from_stdlib_socket(ours))
        self.numbers = itertools.count()
        self.queued, self.flushed = set(), set()
        self.received = bytearray()
        self.flushes = 0
        self.sender = None
        script = list(self.script)
        if self.end == "EIO":
            script.append(os_error(errno.EIO))
        with ours, self.peer:
            with scripted_calls(self.stream, sending=script):
                result = disturbed(
                    self.run,
                    *self.disturbance,
                    beside=[self.listen] if self.reads else (),
                )
            # So that the peer sees an end.
            ours.close()
            self.peer.settimeout(60)
            with contextlib.suppress(ConnectionResetError):
                self.received += drain(self.peer)
        self.check(result)

    def check(self, result):
        sender = self.sender
        if sender is None:
            assert result is DISTURBED
            return
        assert sender.uncertain == []
        left = [sender.unfinished, *sender.unsent]
        found = parse(bytes(self.received) + b"".join(left))
        assert found == sorted(set(found))
        assert set(found) == self.queued
        unsent = {parse(data)[0] for data in sender.unsent}
        assert not unsent & self.flushed
        if isinstance(result, outcome.Value):
            assert left == [b""]
        elif result is not DISTURBED:
            # In groups, or not.
            assert any(
                has(result.error, kind)
                for kind in (
                    EndError,
                    trio.BrokenResourceError,
                    trio.ClosedResourceError,
                )
            )


TestStreamSender = machine_test(SenderMachine)


@pytest.mark.models
def test_a_flush_ends_when_all_that_was_queued_has_left():
    # Leaving the block would free it as well.
    machine = SenderMachine()
    machine.begin(
        family="unix",
        max_buffered=1000,
        grace=0,
        script=[],
        disturbance=(None, 0),
        end="leave",
        reads=True,
    )
    machine.send_nowait(100)
    machine.flush(None)
    machine.teardown()
