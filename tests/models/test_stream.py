"""A stream and its peer, beside counts of the bytes that went each way."""

from __future__ import annotations

import contextlib
import errno
import socket
import struct

import outcome
import trio
from helpers import drain
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule
from machines import (
    DISTURBED,
    cut,
    disturbances,
    disturbed,
    machine_test,
    sequence,
    stream_sockets,
)
from trio import socket as tsocket

from triobatch import BatchSocketStream, Buffers
from triobatch.testing import os_error, scripted_calls

sizes = st.lists(
    st.sampled_from([0, 1, 7, 100, 5000, 70_000]), min_size=1, max_size=6
)
steps = st.lists(
    st.sampled_from(
        [1, 3, 4096, None]
        + [os_error(n) for n in (errno.EAGAIN, errno.EINTR, errno.EIO)]
    ),
    max_size=5,
)
kinds = st.sampled_from([bytes, bytearray, memoryview])


class StreamMachine(RuleBasedStateMachine):
    """What the stream sent and the peer got, and the other way round."""

    @initialize(family=st.sampled_from(["unix", "tcp"]))
    def connect(self, family):
        self.family = family
        self.ours, self.peer = stream_sockets(family)
        self.stream = BatchSocketStream(tsocket.from_stdlib_socket(self.ours))
        # Positions: how many bytes left, and arrived, in each direction.
        self.sent = self.arrived = self.asked = self.heard = 0
        self.ended = self.peer_ended = self.closed = False

    def teardown(self):
        if hasattr(self, "peer"):
            self.peer.close()
            self.ours.close()

    async def listen(self):
        """Be a peer that reads all."""
        with (
            tsocket.from_stdlib_socket(self.peer.dup()) as peer,
            contextlib.suppress(ConnectionResetError),
        ):
            while True:
                data = await peer.recv(30_000)
                if not data:
                    return
                self.take(data)

    def take(self, data):
        assert data == sequence(self.arrived, len(data))
        self.arrived += len(data)

    def catch_up(self, least, most):
        """Let the peer read all that left; that says how much it was."""
        if self.closed:
            # The peer may have been reset: it had sent something.
            assert least == most == self.sent
            return
        self.take(drain(self.peer))
        # Over TCP what was sent may take a moment.
        deadline = 40
        while self.arrived < least and deadline:
            self.peer.settimeout(0.05)
            try:
                self.take(self.peer.recv(100_000))
            except TimeoutError:
                deadline -= 1
            self.peer.setblocking(False)
        assert least <= self.arrived <= most

    @rule(
        sizes=sizes,
        kind=kinds,
        way=st.sampled_from(["all", "list", "iterator", "Buffers"]),
        reads=st.booleans(),
        script=steps,
        disturbance=st.one_of(
            disturbances,
            st.tuples(st.sampled_from(["close", "reset"]), st.integers(1, 6)),
        ),
    )
    def send(self, sizes, kind, way, reads, script, disturbance):
        size = sum(sizes)
        data = self.offered = sequence(self.sent, size)
        chunks = [kind(piece) for piece in cut(data, sizes)]
        queue = Buffers(chunks)
        stream = self.stream
        offered = {"list": chunks, "iterator": iter(chunks), "Buffers": queue}

        async def operation():
            if way == "all":
                return await stream.send_all(kind(data))
            return await stream.send_buffers(offered[way])

        # Otherwise it may wait for ever.
        if not reads and disturbance[0] is None:
            reads = True
        with scripted_calls(stream, sending=script):
            result = disturbed(
                operation,
                *disturbance,
                act=getattr(self, f"{disturbance[0]}_now", None),
                beside=[self.listen] if reads else (),
            )
        left = size
        if disturbance[0] in {"close", "reset"}:
            self.check_broken_off(result, queue if way == "Buffers" else None)
            return
        if self.closed or self.ended:
            assert isinstance(result, outcome.Error)
            assert (
                size == 0
                or result is DISTURBED
                or isinstance(
                    result.error,
                    (trio.ClosedResourceError, trio.BrokenResourceError),
                )
            )
        elif isinstance(result, outcome.Value):
            assert result.value == (None if way == "all" else size)
            left = 0
        elif result is not DISTURBED:
            assert isinstance(result.error, trio.BrokenResourceError)
            assert result.error.__cause__.errno == errno.EIO
        if way == "Buffers":
            left = queue.nbytes
            assert bytes(queue) == data[size - left :]
            self.catch_up(self.sent + size - left, self.sent + size - left)
        else:
            most = 0 if self.closed else size
            self.catch_up(self.sent + size - left, self.sent + most)
        self.sent = self.arrived

    def close_now(self):
        self.stream.socket.close()

    def reset_now(self):
        # Data that is unread, or SO_LINGER, make it a reset.
        linger = struct.pack("ii", 1, 0)
        self.peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        self.peer.close()

    def check_broken_off(self, result, queue):
        """Look at a stream that was closed or reset in the middle."""
        if isinstance(result, outcome.Error):
            assert isinstance(
                result.error,
                (trio.ClosedResourceError, trio.BrokenResourceError),
            )
        elif queue is not None:
            assert not queue
        if self.peer.fileno() != -1:
            with contextlib.suppress(ConnectionResetError):
                self.take(drain(self.peer))
        if queue is not None:
            # What the peer has got is not left.
            offered = self.sent + len(self.offered)
            assert self.arrived <= offered - queue.nbytes
            assert self.offered.endswith(bytes(queue))
        # All that follows is another stream.
        self.teardown()
        self.connect(self.family)

    @rule(sizes=sizes, kind=kinds, script=steps)
    def send_nowait(self, sizes, kind, script):
        size = sum(sizes)
        data = sequence(self.sent, size)
        queue = Buffers(map(kind, cut(data, sizes)))
        sent = 0
        with scripted_calls(self.stream, sending=script):
            try:
                sent = self.stream.send_buffers_nowait(queue)
            except trio.WouldBlock:
                assert size
            except trio.BrokenResourceError:
                sent = size - queue.nbytes
            except trio.ClosedResourceError:
                assert self.closed or self.ended
        assert queue.nbytes == size - sent
        assert bytes(queue) == data[sent:]
        self.catch_up(self.sent + sent, self.sent + sent)
        self.sent += sent

    @rule(size=st.sampled_from([1, 100, 4096, 20_000]))
    def peer_sends(self, size):
        if not self.peer_ended:
            try:
                self.asked += self.peer.send(sequence(self.asked, size))
            except (BlockingIOError, BrokenPipeError, ConnectionResetError):
                pass

    @rule(
        room=st.one_of(
            st.none(),
            st.sampled_from([1, 50, 100_000]),
            st.lists(
                st.sampled_from([0, 1, 60, 5000]), min_size=1, max_size=4
            ),
        ),
        script=steps,
        disturbance=disturbances,
    )
    def receive(self, room, script, disturbance):
        if (
            not self.closed
            and self.asked == self.heard
            and (not self.peer_ended and disturbance[0] is None)
        ):
            return
        memory = []

        async def operation():
            if not isinstance(room, list):
                return await self.stream.receive_some(room)
            memory.extend(map(bytearray, room))
            size = await self.stream.receive_into(memory)
            return b"".join(memory)[:size]

        if isinstance(room, list) and not sum(room):
            room = [1]
        with scripted_calls(self.stream, receiving=script):
            result = disturbed(operation, *disturbance)
        if isinstance(result, outcome.Value):
            data = result.value
            assert data == sequence(self.heard, len(data))
            self.heard += len(data)
            assert data or (self.peer_ended and self.heard == self.asked)
        elif self.closed:
            assert result is DISTURBED or isinstance(
                result.error, trio.ClosedResourceError
            )
        elif result is not DISTURBED:
            assert isinstance(result.error, trio.BrokenResourceError)
            assert result.error.__cause__.errno == errno.EIO

    @rule()
    def peer_ends(self):
        if not self.peer_ended:
            self.peer_ended = True
            # It may have noticed that the stream was closed.
            with contextlib.suppress(OSError):
                self.peer.shutdown(socket.SHUT_WR)

    @rule(disturbance=disturbances)
    def send_eof(self, disturbance):
        result = disturbed(self.stream.send_eof, *disturbance)
        if isinstance(result, outcome.Value):
            # As in Trio: the second one does nothing, whatever has happened.
            assert self.ended or not self.closed
            self.ended = True
        elif result is DISTURBED:
            # It is done before anything is waited for, or not at all.
            self.ended = self.ended or self.peer_got_eof()
        else:
            assert self.closed
            assert isinstance(result.error, trio.ClosedResourceError)

    def peer_got_eof(self):
        try:
            return self.peer.recv(1) == b""
        except BlockingIOError:
            return False

    @rule(disturbance=disturbances)
    def close(self, disturbance):
        result = disturbed(self.stream.aclose, *disturbance)
        assert result is DISTURBED or result == outcome.Value(None)
        assert self.stream.socket.fileno() == -1
        self.closed = True


TestStream = machine_test(StreamMachine)
