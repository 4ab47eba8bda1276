"""A buffered reader: what a call does not hand out, the next one does."""

from __future__ import annotations

import errno

import outcome
import trio
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
    BufferedReceiveStream,
    FrameTooLargeError,
)
from triobatch.testing import os_error, scripted_calls

LIMIT = 40
steps = st.lists(
    st.sampled_from(
        [1, 2, 7, None]
        + [os_error(n) for n in (errno.EAGAIN, errno.EINTR, errno.EIO)]
    ),
    max_size=5,
)
calls = st.one_of(
    st.tuples(st.just("some"), st.sampled_from([None, 1, 5, 10_000])),
    st.tuples(st.just("exactly"), st.sampled_from([0, 1, 5, 30, 5000])),
    st.tuples(
        st.just("until"), st.sampled_from([b"a", b"ab", b"\n", b"abca"])
    ),
    st.tuples(
        st.just("into"), st.lists(st.integers(0, 9), min_size=1, max_size=3)
    ),
    st.tuples(st.just("frames"), st.sampled_from([1, 3, 10])),
)


class BufferedMachine(RuleBasedStateMachine):
    """What the peer has sent, less what the calls have handed out."""

    @initialize(family=st.sampled_from(["unix", "tcp"]))
    def connect(self, family):
        self.ours, self.peer = stream_sockets(family)
        stream = BatchSocketStream(tsocket.from_stdlib_socket(self.ours))
        self.stream = stream
        self.reader = BufferedReceiveStream(stream)
        self.left = b""
        self.ended = False

    def teardown(self):
        if hasattr(self, "peer"):
            self.peer.close()
            self.ours.close()

    @rule(
        data=st.one_of(
            st.binary(min_size=1, max_size=60).map(
                lambda data: bytes(b"abc\n"[byte % 4] for byte in data)
            ),
            st.sampled_from([b"abcab" * 400, b"b" * 3000]),
        )
    )
    def peer_sends(self, data):
        if not self.ended:
            try:
                self.left += data[: self.peer.send(data)]
            except BlockingIOError:
                pass

    @rule()
    def peer_ends(self):
        if not self.ended:
            self.ended = True
            self.peer.shutdown(1)

    async def call(self, kind, argument):
        reader = self.reader
        if kind == "some":
            return await reader.receive_some(argument)
        if kind == "exactly":
            return await reader.receive_exactly(argument)
        if kind == "until":
            return await reader.receive_until(argument, LIMIT)
        if kind == "into":
            memory = [bytearray(size) for size in argument]
            size = await reader.receive_into(memory)
            return b"".join(memory)[:size]

        def split(data):
            end = len(data) // argument * argument
            return [
                bytes(data[start : start + argument])
                for start in range(0, end, argument)
            ], end

        return b"".join(await reader.receive_frames(split))

    def is_enough(self, kind, argument):
        """Whether a call comes to an end with what there is."""
        if self.ended:
            return True
        if kind == "exactly":
            return len(self.left) >= argument
        if kind == "until":
            return argument in self.left[:LIMIT] or len(self.left) >= LIMIT
        if kind == "into":
            return len(self.left) >= sum(argument) > 0
        if kind == "frames":
            return len(self.left) >= argument
        return bool(self.left)

    @rule(call=calls, script=steps, disturbance=disturbances)
    def receive(self, call, script, disturbance):
        kind, argument = call
        if kind == "into" and not sum(argument):
            return
        enough = self.is_enough(kind, argument)
        if not enough and disturbance[0] is None:
            disturbance = ("cancel", 4)
        with scripted_calls(self.stream, receiving=script):
            result = disturbed(lambda: self.call(kind, argument), *disturbance)
        assert self.reader.nbytes <= len(self.left)
        if result is DISTURBED:
            return
        if isinstance(result, outcome.Value):
            got = result.value
            assert self.left.startswith(got)
            if kind == "exactly":
                assert len(got) == argument
            elif kind == "into":
                assert len(got) in (0, sum(argument))
            elif kind == "until":
                end = self.left.find(argument) + len(argument)
                assert got == self.left[:end]
            assert got or argument == 0 or (self.ended and not self.left)
            self.left = self.left[len(got) :]
        elif isinstance(result.error, trio.BrokenResourceError):
            assert result.error.__cause__.errno == errno.EIO
        elif isinstance(result.error, FrameTooLargeError):
            assert argument not in self.left[:LIMIT]
            assert len(self.left) >= LIMIT
        else:
            assert isinstance(result.error, EOFError)
            assert self.ended


TestBuffered = machine_test(BufferedMachine, steps=30)
