"""A group beside a model of a few lines, under whatever order of calls.

Each byte that a peer sends, and each that the group accepts, has its place in
a sequence of its stream's own, so one that is lost, doubled or out of order
is found at once.
"""

from __future__ import annotations

import contextlib
import socket

import pytest
import trio
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule
from machines import DISTURBED, disturbances, disturbed, machine_test
from trio import socket as tsocket
from trio.testing import wait_all_tasks_blocked

import triobatch
from triobatch import BatchSocketStream
from triobatch._streams import group_readiness

MAX_QUEUED = 5000
RECEIVE_SIZE = 1000
PATTERN = bytes(range(251)) * 500

which = st.integers(0, 3)
sizes = st.sampled_from([0, 1, 7, 100, 4096, 30_000])
operations = st.one_of(
    st.tuples(st.just("connect")),
    st.tuples(st.just("ask"), which, sizes),
    st.tuples(st.just("end"), which),
    st.tuples(st.just("move"), which),
    st.tuples(st.just("receive"), st.integers(1, 4)),
    st.tuples(st.just("cancel")),
    st.tuples(
        st.just("send"),
        st.lists(st.tuples(which, st.lists(sizes, max_size=3)), max_size=6),
    ),
    st.tuples(st.just("hear"), which, st.sampled_from([1, 1000, 100_000])),
)


def sequence(start, size):
    """Return bytes ``start`` to ``start + size`` of any sequence."""
    return PATTERN[start % 251 :][:size]


class Model:
    """What is known of one stream."""

    def __init__(self, stream, peer):
        self.stream = stream
        self.peer = peer
        # Positions: what its peer sent, what the group handed out; what the
        # group accepted, what its peer received.
        self.asked = self.heard = self.accepted = self.arrived = 0
        self.ended = self.told = self.member = False


class Play:
    """One group, and the operations on it."""

    def __init__(self, group):
        self.group = group
        self.models = []

    async def connect(self):
        if len(self.models) < 4:
            ours, peer = socket.socketpair()
            for end in (ours, peer):
                end.setblocking(False)
                end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4608)
            stream = BatchSocketStream(tsocket.from_stdlib_socket(ours))
            self.models.append(Model(stream, peer))
            await self.move(len(self.models) - 1)

    async def ask(self, i, size):
        model = self.models[i]
        if not model.ended:
            try:
                model.asked += model.peer.send(sequence(model.asked, size))
            except BlockingIOError:
                pass

    async def end(self, i):
        self.models[i].ended = True
        self.models[i].peer.shutdown(socket.SHUT_WR)

    async def move(self, i):
        """Put it in, or take it out."""
        model = self.models[i]
        if not model.member:
            # The end is there to be told again.
            model.told = False
            self.group.add(model.stream)
        else:
            rest = self.group.remove(model.stream)
            start = model.accepted - rest.nbytes
            assert bytes(rest) == sequence(start, rest.nbytes)
            model.accepted = start
        model.member = not model.member

    async def receive(self, most):
        with trio.move_on_after(0.001):
            self.take(await self.group.receive_batch(most), most)

    async def cancel(self):
        with trio.CancelScope() as scope:
            scope.cancel()
            await self.group.receive_batch()

    def take(self, batch, most):
        assert 1 <= len(batch) <= most
        by_stream = dict(batch)
        assert len(by_stream) == len(batch)
        for model in self.models:
            if model.stream not in by_stream:
                continue
            piece = by_stream.pop(model.stream)
            assert model.member
            assert not model.told
            assert len(piece) <= RECEIVE_SIZE
            assert piece == sequence(model.heard, len(piece))
            model.heard += len(piece)
            if not piece:
                assert model.ended
                assert model.heard == model.asked
                model.told = True
        assert not by_stream

    async def send(self, messages):
        models = [self.models[i % len(self.models)] for i, _ in messages]
        position = {model: model.accepted for model in models}
        offered = []
        for model, (_, parts) in zip(models, messages, strict=True):
            pieces = []
            for size in parts:
                pieces.append(sequence(position[model], size))
                position[model] += size
            one = len(pieces) == 1
            offered.append((model.stream, pieces[0] if one else pieces))
        errors = self.group.send_batch_nowait(offered)
        refused = [stream for stream, _ in errors]
        # Of each stream the last so many.
        for model, (_, parts) in reversed(
            list(zip(models, messages, strict=True))
        ):
            if model.stream in refused:
                refused.remove(model.stream)
            else:
                assert model.member
                model.accepted += sum(parts)
        assert refused == []
        for stream, error in errors:
            if type(error) is trio.WouldBlock:
                assert self.group.queued(stream) > 0
            else:
                assert type(error) is ValueError
                assert stream not in self.group

    async def hear(self, i, size):
        self.drain(self.models[i], size)

    def drain(self, model, size):
        try:
            received = model.peer.recv(size)
        except BlockingIOError:
            return 0
        assert received == sequence(model.arrived, len(received))
        model.arrived += len(received)
        assert model.arrived <= model.accepted
        return len(received)

    def check(self):
        for model in self.models:
            assert (model.stream in self.group) == model.member
            if model.member:
                queued = self.group.queued(model.stream)
                # One message is taken whatever its size.
                assert queued <= MAX_QUEUED + 90_000
                assert queued <= model.accepted - model.arrived

    async def take_the_rest(self):
        """Take everything out, and see that all of it is there."""
        with trio.fail_after(60):
            for model in self.models:
                while self.drain(model, 2**20) or (
                    model.arrived < model.accepted
                ):
                    await trio.lowlevel.checkpoint()
                assert model.arrived == model.accepted
            while any(
                model.member
                and (model.heard, model.told) != (model.asked, model.ended)
                for model in self.models
            ):
                self.take(await self.group.receive_batch(), 128)
        with trio.move_on_after(0.001) as scope:
            await self.group.receive_batch()
        assert scope.cancelled_caught


class GroupMachine(RuleBasedStateMachine):
    """The rules write a program, and the end runs it; Ctrl-C is survived."""

    epoll = True

    @initialize(disturbance=disturbances)
    def begin(self, disturbance):
        kind, after = disturbance
        # A group that is cancelled is left: that is another test.
        self.disturbance = (kind and "ctrl-c", 5 * after)
        self.todo = []

    @rule(operation=operations)
    def do(self, operation):
        self.todo.append(operation)

    def teardown(self):
        if hasattr(self, "todo"):
            with pytest.MonkeyPatch.context() as patch:
                if not self.epoll:
                    patch.setattr(group_readiness, "_EPOLL", False)
                result = disturbed(self.play, *self.disturbance)
                # Ctrl-C may come when the block is entered, or left.
                if result is not DISTURBED:
                    result.unwrap()

    async def play(self):
        async with triobatch.open_stream_group(
            receive_size=RECEIVE_SIZE, max_queued=MAX_QUEUED
        ) as group:
            state = Play(group)
            await state.connect()
            try:
                for name, *arguments in self.todo:
                    if name not in {"receive", "cancel", "send", "connect"}:
                        arguments[0] %= len(state.models)
                    with contextlib.suppress(KeyboardInterrupt):
                        await getattr(state, name)(*arguments)
                        await wait_all_tasks_blocked()
                    state.check()
                while True:
                    with contextlib.suppress(KeyboardInterrupt):
                        await state.take_the_rest()
                        break
            finally:
                for model in state.models:
                    model.peer.close()
                    model.stream.socket.close()


class TaskGroupMachine(GroupMachine):
    """As elsewhere than on Linux: a task waits for each stream."""

    epoll = False


TestStreamGroup = machine_test(GroupMachine, steps=40)
TestStreamGroupOfTasks = machine_test(TaskGroupMachine, steps=40)
