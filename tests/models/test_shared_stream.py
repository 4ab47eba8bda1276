"""Twenty tasks on a shared stream: every message whole, and accounted for."""

from __future__ import annotations

import contextlib
import random

import outcome
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

import triobatch
from triobatch import BatchSocketStream, Buffers, open_shared_stream

HEADER = 12
TASKS = 20
WAYS = [
    "send_all",
    "send_buffers",
    "gathered",
    "nowait",
    "broadcast",
    "broadcast_nowait",
]

messages = st.tuples(
    st.sampled_from(WAYS),
    st.sampled_from([0, 1, 100, 5000, 70_000]),
    # Whether it is cancelled, and after how many turns.
    st.one_of(st.none(), st.integers(0, 3)),
)
ends = st.sampled_from(["leave", "error", "aclose", "cancelled aclose", "eof"])


class EndError(Exception):
    """What ends a block."""


def message(task, number, size):
    return b"%02d:%02d:%05d;" % (task, number, size) + b"%c" % task * size


def parse(data):
    """Return the task and the number of each message, which is whole."""
    found = []
    while data:
        task, number, size = map(int, data[: HEADER - 1].split(b":"))
        end = HEADER + size
        assert data[:end] == message(task, number, size)
        found.append((task, number))
        data = data[end:]
    return found


class Play:
    """One shared stream, and what was queued on it."""

    def __init__(self, shared):
        self.shared = shared
        self.queued = set()
        self.refused = set()

    async def run(self, task, plans):
        for number, (way, size, patience) in enumerate(plans):
            data = message(task, number, size)
            with trio.CancelScope() as scope:
                async with trio.open_nursery() as nursery:
                    if patience is not None:
                        nursery.start_soon(self.cancel, scope, patience)
                    done = False
                    try:
                        done = await self.send(way, data)
                    except (trio.ClosedResourceError, trio.WouldBlock):
                        pass
                    finally:
                        place = self.queued if done else self.refused
                        place.add((task, number))
                        nursery.cancel_scope.cancel()

    async def cancel(self, scope, patience):
        for _ in range(patience):
            await trio.lowlevel.checkpoint()
        scope.cancel()

    async def send(self, way, data):
        shared = self.shared
        if way == "send_all":
            await shared.send_all(data)
        elif way == "send_buffers":
            assert await shared.send_buffers([data[:5], data[5:]])
        elif way == "gathered":
            await shared.sender.send(Buffers([data[:5], data[5:]]))
        elif way == "nowait":
            shared.sender.send_nowait(data)
        else:
            if way == "broadcast":
                (delivery,) = await triobatch.broadcast([shared], data)
            else:
                (delivery,) = triobatch.broadcast_nowait([shared], data)
            assert delivery.status in ("queued", "full", "closed")
            return delivery.status == "queued"
        return True


class SharedMachine(RuleBasedStateMachine):
    """The rules write what each task does, and the end runs it."""

    @initialize(
        end=ends,
        reads=st.booleans(),
        seed=st.integers(0, 2**16),
        max_buffered=st.sampled_from([0, 1000, 2**18]),
        disturbance=disturbances,
    )
    def begin(self, end, reads, seed, max_buffered, disturbance):
        self.end, self.reads, self.seed = end, reads, seed
        self.max_buffered, self.disturbance = max_buffered, disturbance
        self.plans = [[] for _ in range(TASKS)]

    @rule(task=st.integers(0, TASKS - 1), plan=messages)
    def send(self, task, plan):
        self.plans[task].append(plan)

    @rule(plan=messages)
    def all_send(self, plan):
        for task in range(TASKS):
            self.plans[task].append(plan)

    def teardown(self):
        if hasattr(self, "plans"):
            self.play()

    async def read(self):
        chance = random.Random(self.seed)
        with (
            tsocket.from_stdlib_socket(self.theirs.dup()) as peer,
            contextlib.suppress(ConnectionResetError),
        ):
            while data := await peer.recv(chance.choice([1, 1000, 100_000])):
                self.received.extend(data)

    async def run(self):
        async with trio.open_nursery() as readers:
            async with open_shared_stream(
                self.stream, max_buffered=self.max_buffered, grace=0
            ) as shared:
                self.played = Play(shared)
                await self.share(shared, readers)
            readers.cancel_scope.cancel()

    async def share(self, shared, readers):
        async with trio.open_nursery() as nursery:
            for task, plan in enumerate(self.plans):
                nursery.start_soon(self.played.run, task, plan)
            await wait_all_tasks_blocked()
            if self.end == "error":
                raise EndError
            if self.end == "aclose":
                await shared.aclose()
            elif self.end == "cancelled aclose":
                await trio.aclose_forcefully(shared)
            elif not self.reads:
                readers.start_soon(self.read)
            if self.end == "eof":
                await shared.send_eof()

    def play(self):
        ours, self.theirs = stream_sockets("unix")
        self.stream = BatchSocketStream(tsocket.from_stdlib_socket(ours))
        self.received = bytearray()
        self.played = None
        with ours, self.theirs:
            result = disturbed(
                self.run,
                *self.disturbance,
                beside=[self.read] if self.reads else (),
            )
            ours.close()
            with contextlib.suppress(ConnectionResetError):
                self.received.extend(drain(self.theirs))
        if self.played is None:
            assert result is DISTURBED
        else:
            self.check(result)

    def check(self, result):
        played, sender = self.played, self.played.shared.sender
        assert sender.uncertain == []
        left = [sender.unfinished, *sender.unsent]
        found = parse(bytes(self.received) + b"".join(left))
        for task in range(TASKS):
            numbers = [number for t, number in found if t == task]
            assert numbers == sorted(numbers)
        assert len(set(found)) == len(found)
        # A task that is cancelled by the end may not know that it was queued.
        assert set(found) == played.queued
        if isinstance(result, outcome.Value):
            if self.end in ("leave", "eof"):
                assert left == [b""]
        elif result is not DISTURBED:
            assert has(result.error, EndError) == (self.end == "error")


TestSharedStream = machine_test(SharedMachine, steps=25)
