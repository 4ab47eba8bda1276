"""Runs between other ways to receive: views that hold until they end.

A slice that is kept of a view has its bytes for ever, whatever is received
into the socket's memory later.
"""

from __future__ import annotations

import itertools
from collections import deque

import outcome
import pytest
import trio
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    rule,
)
from machines import (
    DATAGRAM_FAMILIES,
    DISTURBED,
    datagram_sockets,
    disturbances,
    disturbed,
    machine_test,
)
from trio import socket as tsocket

from triobatch import DatagramSocket

MARK = 4
trains = st.lists(
    st.tuples(st.sampled_from([4, 7, 1200]), st.integers(1, 40)),
    min_size=1,
    max_size=4,
)


class BodyError(Exception):
    """What ends a block."""


class RunMachine(RuleBasedStateMachine):
    """One socket that receives, one that sends, and one to hand on to."""

    @initialize(family=st.sampled_from(DATAGRAM_FAMILIES))
    def connect(self, family):
        self.pairs = datagram_sockets(family), datagram_sockets(family)
        (sender, receiver), (onward, far) = (
            [DatagramSocket(tsocket.from_stdlib_socket(s)) for s in pair]
            for pair in self.pairs
        )
        self.sender, self.receiver = sender, receiver
        self.onward, self.far = onward, far
        self.numbers = itertools.count()
        self.asked = deque()
        self.kept = []

    def teardown(self):
        self.kept = []
        for sock in itertools.chain(*getattr(self, "pairs", ())):
            sock.close()

    @rule(trains=trains)
    def send(self, trains):
        for size, count in trains:
            payloads = [
                next(self.numbers).to_bytes(MARK, "big") + bytes(size - MARK)
                for _ in range(count)
            ]
            try:
                sent = self.sender.send_segments_nowait(
                    b"".join(payloads), size
                )
            except trio.WouldBlock:
                return
            self.asked += payloads[:sent]

    def expect(self, payloads):
        assert payloads == [self.asked.popleft() for _ in payloads]

    @rule(
        max_bytes=st.sampled_from([1, 5000, 10**6]),
        keep=st.booleans(),
        then=st.sampled_from(["", "error", "close", "send on", "receive"]),
        disturbance=disturbances,
    )
    def receive_runs(self, max_bytes, keep, then, disturbance):
        if not self.asked and disturbance[0] is None:
            return
        got, runs = [], []

        async def operation():
            async with self.receiver.receive_runs(max_bytes) as runs[:]:
                assert runs
                got.extend(self.cut_up(runs, keep=keep))
                if then == "error":
                    raise BodyError
                if then == "receive":
                    with pytest.raises(trio.BusyResourceError):
                        await self.receiver.receive_batch()
                if then == "send on":
                    await self.onward.send_runs(runs)

        result = disturbed(operation, *disturbance, beside=[self.far_end])
        self.check_ended(runs)
        self.expect(got)
        if result is not DISTURBED:
            assert got
            error = getattr(result, "error", None)
            assert (then == "error") == isinstance(error, BodyError)

    def cut_up(self, runs, *, keep):
        payloads = []
        for run in runs:
            data, size = run.data, run.segment_size
            if keep:
                self.kept.append((data[1:], bytes(data[1:])))
            payloads += [
                bytes(data[start : start + size])
                for start in range(0, len(data), size)
            ]
        return payloads

    async def far_end(self):
        while True:
            await self.far.receive_batch()

    def check_ended(self, runs):
        for run in runs:
            with pytest.raises(ValueError, match=r"released|over|end"):
                bytes(run.data)

    @rule(
        limit=st.sampled_from([1, 3, 64]),
        messages=st.booleans(),
        disturbance=disturbances,
    )
    def receive(self, limit, messages, disturbance):
        if not self.asked and disturbance[0] is None:
            return
        got = []

        async def operation():
            if messages:
                batch = await self.receiver.receive_messages(limit)
            else:
                batch = await self.receiver.receive_batch(limit)
            got.extend(item[0] for item in batch)

        result = disturbed(operation, *disturbance)
        self.expect(got)
        assert len(got) <= limit
        assert got or result is DISTURBED
        assert result is DISTURBED or isinstance(result, outcome.Value)

    @rule()
    def forget(self):
        for view, _ in self.kept:
            view.release()
        self.kept = []

    @invariant()
    def what_is_kept_stays(self):
        for view, data in getattr(self, "kept", ()):
            assert view == data


TestRuns = machine_test(RunMachine, steps=30)
