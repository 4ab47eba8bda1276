"""Broadcasts to streams that are slow, broken, closed or busy.

Each stream has a sequence of its own to be sent, of which the result of each
call tells how much has left.
"""

from __future__ import annotations

import errno

import outcome
import trio
from helpers import drain
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule
from machines import (
    DISTURBED,
    disturbances,
    disturbed,
    machine_test,
    stream_sockets,
)
from trio import socket as tsocket

from triobatch import (
    BatchSocketStream,
    BroadcastResult,
    broadcast,
    broadcast_nowait,
)
from triobatch.testing import os_error, scripted_calls

COUNT = 4
which = st.integers(0, COUNT - 1)
sizes = st.sampled_from([0, 1, 3000, 40_000])
steps = st.lists(
    st.sampled_from(
        [1, 3, 4096, None, os_error(errno.EAGAIN), os_error(errno.EPIPE)]
    ),
    max_size=4,
)


class BroadcastMachine(RuleBasedStateMachine):
    """What each stream was told to send, and what its peer got."""

    @initialize(family=st.sampled_from(["unix", "tcp"]))
    def connect(self, family):
        self.pairs = [stream_sockets(family) for _ in range(COUNT)]
        self.streams = [
            BatchSocketStream(tsocket.from_stdlib_socket(ours))
            for ours, _ in self.pairs
        ]
        # What has left of each, and what its peer has got.
        self.left = [b""] * COUNT
        self.got = [b""] * COUNT
        self.gone = [False] * COUNT
        self.messages = 0

    def teardown(self):
        for pair in getattr(self, "pairs", ()):
            for sock in pair:
                sock.close()

    def message(self, size):
        self.messages += 1
        return b"%c" % (self.messages % 251) * size

    @rule(
        size=sizes,
        chosen=st.sets(which, min_size=1),
        readers=st.sets(which),
        scripted=which,
        script=steps,
        disturbance=disturbances,
    )
    def send(self, size, chosen, readers, scripted, script, disturbance):
        chosen = sorted(chosen)
        if disturbance[0] is None:
            # Or it would wait for ever.
            readers = set(range(COUNT))
        data, result = self.message(size), BroadcastResult()

        async def operation():
            await broadcast(
                [self.streams[i] for i in chosen], data, result=result
            )

        with scripted_calls(self.streams[scripted], sending=script):
            done = disturbed(
                operation,
                *disturbance,
                beside=[self.reader(i) for i in readers if not self.gone[i]],
            )
        assert done is DISTURBED or isinstance(done, outcome.Value)
        self.check(result, chosen, data, nowait=False)
        if done is not DISTURBED:
            assert all(
                delivery.status in {"sent", "broken", "closed"}
                for delivery in result
            )

    @rule(size=sizes, chosen=st.sets(which, min_size=1))
    def send_nowait(self, size, chosen):
        chosen = sorted(chosen)
        data = self.message(size)
        result = broadcast_nowait([self.streams[i] for i in chosen], data)
        assert len(result) == len(chosen)
        self.check(result, chosen, data, nowait=True)

    def reader(self, i):
        async def read():
            with tsocket.from_stdlib_socket(self.pairs[i][1].dup()) as peer:
                while data := await peer.recv(30_000):
                    self.got[i] += data

        return read

    def check(self, result, chosen, data, *, nowait):
        deliveries = list(result)
        for i, delivery in zip(chosen, deliveries, strict=False):
            assert delivery.stream is self.streams[i]
            sent = delivery.sent
            assert 0 <= sent <= len(data)
            if delivery.status == "sent":
                assert sent == len(data)
            if delivery.status == "closed":
                assert self.gone[i]
            elif self.gone[i]:
                # It was never tried, or is told to be gone.
                assert sent == 0
            self.left[i] += data[:sent]
            self.catch_up(i)

    def catch_up(self, i):
        """Let a peer read all; it gets exactly what is said to have left."""
        peer = self.pairs[i][1]
        if self.gone[i]:
            return
        self.got[i] += drain(peer)
        peer.settimeout(2)
        while len(self.got[i]) < len(self.left[i]):
            self.got[i] += peer.recv(100_000)
        peer.setblocking(False)
        assert self.got[i] == self.left[i]
        self.got[i] = self.left[i] = b""

    @rule(i=which)
    def close(self, i):
        self.gone[i] = True
        trio.run(self.streams[i].aclose)


TestBroadcast = machine_test(BroadcastMachine, steps=20)
