"""Datagrams beside a plain list of pairs, and the memory that it exports."""

from __future__ import annotations

import errno
import socket

import pytest
from helpers import is_exported
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule
from machines import machine_test

from triobatch import DatagramErrorGroup, Datagrams, Metadata
from triobatch._wire.metadata import metadata_options
from triobatch.testing import memory_datagram_pair, os_error

payloads = st.lists(
    st.tuples(st.booleans(), st.binary(max_size=6)), max_size=5
)
# Where there are any.
metadata = st.sampled_from(
    [None, Metadata(tos=1), Metadata(ttl=9)]
    if metadata_options(socket.AF_INET)
    else [None]
)
BAD = ["text", 3, None, memoryview(b"abcd")[::2]]


class DatagramsMachine(RuleBasedStateMachine):
    """A queue, a copy of it, and a pair of sockets that it is sent on."""

    which = st.integers(0, 1)

    def __init__(self):
        super().__init__()
        self.queues = [(Datagrams(), []), (Datagrams(), [])]
        self.sources = []
        self.left, self.right = memory_datagram_pair(link=self.link)
        self.expected = []

    def link(self, payload):
        if payload[:1] == b"\0":
            raise os_error(errno.EPERM)
        return [payload]

    def made(self, offered, metadata):
        """Return items for a queue, and what they are in the model."""
        items, plain = [], []
        for mutable, data in offered:
            source = bytearray(data) if mutable else None
            chunk = data if source is None else source
            if source is not None:
                self.sources.append(source)
            rest = (None,) if metadata is None else (None, metadata)
            items.append((chunk, *rest))
            plain.append((data, source, rest))
        return items, plain

    @rule(which=which, offered=payloads, metadata=metadata)
    def extend(self, which, offered, metadata):
        queue, model = self.queues[which]
        items, plain = self.made(offered, metadata)
        queue.extend(items)
        model += plain

    @rule(which=which, offered=payloads, metadata=metadata)
    def append(self, which, offered, metadata):
        queue, model = self.queues[which]
        items, plain = self.made(offered[:1], metadata)
        for item in items:
            queue.append(item)
        model += plain

    @rule(
        which=which,
        offered=payloads,
        bad=st.sampled_from(BAD),
        where=st.integers(0, 5),
    )
    def extend_with_something_bad(self, which, offered, bad, where):
        queue, _ = self.queues[which]
        items, _ = self.made(offered, None)
        items.insert(where, (bad, None))
        with pytest.raises((TypeError, BufferError)):
            queue.extend(items)

    @rule(which=which, share=st.floats(0, 1))
    def consume(self, which, share):
        queue, model = self.queues[which]
        count = round(len(model) * share)
        queue.consume(count)
        del model[:count]

    @rule(which=which, excess=st.integers(1, 2**70))
    def consume_too_much(self, which, excess):
        queue, model = self.queues[which]
        for count in (len(model) + excess, -excess):
            with pytest.raises(ValueError, match="count must be"):
                queue.consume(count)

    @rule(which=which)
    def clear(self, which):
        queue, model = self.queues[which]
        queue.clear()
        model.clear()

    @rule(which=which)
    def copy(self, which):
        queue, model = self.queues[which]
        self.queues[1 - which][0].clear()
        self.queues[1 - which] = queue.copy(), model.copy()

    @rule(which=which)
    def send(self, which):
        queue, model = self.queues[which]
        refused = [item for item in model if item[0][:1] == b"\0"]
        expected = [item[0] for item in model if item not in refused]
        if not model:
            return
        try:
            sent = self.left.send_batch_nowait(queue)
        except DatagramErrorGroup as group:
            sent = group.sent
        # A turn has an end; what is behind it is sent the next time.
        assert len(queue) == len(model) - sent
        received = self.arrived()
        assert received == expected[:sent]
        if sent < len(expected):
            queue.clear()
            refused = []
        model[:] = refused

    def arrived(self):
        received = []
        while len(received) < self.right.statistics().datagrams_received + 1:
            try:
                received += self.right.receive_batch_nowait()
            except Exception:  # noqa: BLE001 (WouldBlock)
                break
        return [payload for payload, _ in received]

    @invariant()
    def what_is_left_agrees(self):
        for queue, model in self.queues:
            assert [
                (bytes(payload), tuple(rest)) for payload, *rest in queue
            ] == [(data, rest) for data, _, rest in model]
            assert len(queue) == len(model)
            assert bool(queue) == bool(model)
            assert queue.nbytes == sum(len(data) for data, *_ in model)

    @invariant()
    def exactly_what_is_left_is_exported(self):
        queued = {
            id(source)
            for _, model in self.queues
            for data, source, _ in model
            # Of an empty one there is nothing to be kept.
            if data
        }
        for source in self.sources:
            assert is_exported(source) == (id(source) in queued)


TestDatagrams = machine_test(DatagramsMachine, steps=30, examples=30)
