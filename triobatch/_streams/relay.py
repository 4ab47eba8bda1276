"""Both directions between two streams, until both have ended.

A connection that carries little is copied: a pipe for each direction is four
descriptors more, and wins nothing. One that carries much is left to the
kernel, from the first time on that a read has brought all that it asked for.
"""

from __future__ import annotations

from typing import cast

import trio
from trio.lowlevel import checkpoint, enable_ki_protection, wait_readable

from triobatch._core.choice import CORE
from triobatch._queues.buffers import Buffers
from triobatch._resource import open_fd, pause_after, raise_stream_error
from triobatch._streams.buffered import BufferedReceiveStream
from triobatch._streams.outermost import HandsOn, keeps
from triobatch._streams.plain import is_plain_both_ways
from triobatch._streams.stream import DEFAULT_RECEIVE_SIZE, BatchSocketStream
from triobatch._wire.arguments import must_be

if CORE == "c":
    from triobatch._core.splice_c import (
        ENDED,
        TURN,
        WAIT_SOURCE,
        Relay,
    )

# So that the other tasks get their turn: 100 to 400 us on loopback.
_TURN_SIZE = 2**20

# A reader that has one of these of its own is not gone round.
_READER_METHODS = ("receive_some", "send_all")


async def relay(a: trio.abc.Stream, b: trio.abc.Stream) -> tuple[int, int]:
    """Hand on what comes from each of two streams to the other one.

    Until both have ended; the end of one is handed on as soon as all that
    came before it. Between two ``BatchSocketStream`` the kernel moves large
    transfers itself (splice(2)); what a ``BufferedReceiveStream`` has left
    goes first.

    Args:
      a: A stream.
      b: Another. One that cannot be closed in one direction, as TLS cannot,
        can only be told of the other's end by being closed: then the relay
        ends with that, whatever is still on its way from it.

    Returns:
      The bytes that went from ``a`` to ``b``, and from ``b`` to ``a``.

    Raises:
      TypeError: one of them is no ``trio.abc.Stream``.
      ValueError: they are the same.
      trio.BusyResourceError: another task is sending to, or receiving from,
        one of them.
      trio.ClosedResourceError: one of them was closed on this side.
      trio.BrokenResourceError: one of the connections broke.

    An error of one direction ends both, and so does a cancellation; what was
    on its way is lost then, and how much cannot be told. So close both
    streams. There is no deadline for a side that is stuck, which holds up one
    direction and no more: set your own. A long transfer is not stuck as long
    as ``BatchSocketStream.statistics`` grow.
    """
    for name, stream in (("a", a), ("b", b)):
        if not isinstance(stream, trio.abc.Stream):
            raise TypeError(
                must_be(f"{name} must be a trio.abc.Stream", stream)
            )
    if a is b:
        raise ValueError("a and b must be two streams")
    ways = _Way(a, b), _Way(b, a)
    error: Exception | None = None

    async def run(way: _Way) -> None:
        nonlocal error
        try:
            if not await way.run():
                nursery.cancel_scope.cancel()
        except Exception as first:  # noqa: BLE001 (it is raised below)
            error = error or first
            nursery.cancel_scope.cancel()

    async with trio.open_nursery() as nursery:
        for way in ways:
            nursery.start_soon(run, way)
    if error is not None:
        raise error
    return ways[0].moved, ways[1].moved


class _Way:
    """One direction of a relay."""

    def __init__(
        self, source: trio.abc.Stream, target: trio.abc.Stream
    ) -> None:
        self._source = source
        self._target = target
        self.moved = 0

    async def run(self) -> bool:
        """Hand on all, and the end; return whether that could be said."""
        can_splice = CORE == "c" and all(
            is_plain_both_ways(_below(stream))
            for stream in (self._source, self._target)
        )
        if not await self._copy(until_much=can_splice) and (
            not await self._splice()
        ):
            await self._copy(until_much=False)
        if not _can_send_eof(self._target):
            return False
        await cast("trio.abc.HalfCloseableStream", self._target).send_eof()
        return True

    async def _copy(self, *, until_much: bool) -> bool:
        """Copy until the end, or until it is worth leaving to the kernel.

        Returns:
          Whether the end has come.
        """
        while data := await self._source.receive_some(DEFAULT_RECEIVE_SIZE):
            await self._target.send_all(data)
            self.moved += len(data)
            if (
                until_much
                and len(data) == DEFAULT_RECEIVE_SIZE
                and not _held(self._source)
            ):
                return False
        return True

    # Ctrl-C comes out of the waits, or it would leave the guards taken.
    @enable_ki_protection
    async def _splice(self) -> bool:
        """Have the kernel move the rest; return whether it could."""
        try:
            pipe = Relay()
        except OSError:
            # No descriptors are left for it.
            return False
        source, target = _below(self._source), _below(self._target)
        assert isinstance(source, BatchSocketStream)
        assert isinstance(target, BatchSocketStream)
        with pipe, target._send_guard, source._receive.kept():
            idle = 0
            while True:
                before = pipe.received + pipe.sent
                answer = self._move(pipe, source, target)
                idle = 0 if pipe.received + pipe.sent > before else idle + 1
                if answer == ENDED or (answer == WAIT_SOURCE and idle > 1):
                    # An urgent byte is in the way, perhaps (MSG_OOB in
                    # send(2)): to splice(2) it is the end of what there is,
                    # for ever (tcp_read_sock() in net/ipv4/tcp.c). recv(2)
                    # leaves it out, and goes on behind it.
                    data = await source.receive_some(DEFAULT_RECEIVE_SIZE)
                    if not data:
                        return True
                    self.moved += await target._send.send(Buffers([data]))
                    idle = 0
                elif answer == TURN:
                    await checkpoint()
                elif answer == WAIT_SOURCE:
                    source._receive.waits += 1
                    await wait_readable(open_fd(source.socket))
                elif not target._send._lift_for(_TURN_SIZE):
                    await target._send.wait_writable()
                    await pause_after(idle)

    @enable_ki_protection
    def _move(
        self, pipe: Relay, source: BatchSocketStream, target: BatchSocketStream
    ) -> int:
        """Let the kernel move what there is, and count it."""
        receiving, sending = source._receive, target._send
        received, sent, calls = pipe.received, pipe.sent, pipe.calls
        try:
            return pipe.move(
                open_fd(source.socket), open_fd(target.socket), _TURN_SIZE
            )
        except OSError as error:
            raise_stream_error(error)
        finally:
            self.moved += pipe.sent - sent
            sending.bytes_sent += pipe.sent - sent
            receiving.bytes_received += pipe.received - received
            receiving.calls += pipe.calls[0] - calls[0]
            sending.calls += pipe.calls[1] - calls[1]


def _below(stream: trio.abc.AsyncResource) -> trio.abc.AsyncResource:
    """Return the stream that readers, if any, read from.

    Not from one that has a way of its own to receive or to send.
    """
    while keeps(type(stream), BufferedReceiveStream, _READER_METHODS):
        stream = cast("BufferedReceiveStream", stream).stream
    return stream


def _held(stream: trio.abc.AsyncResource) -> int:
    """Return the bytes that readers have left."""
    held = 0
    while isinstance(stream, BufferedReceiveStream):
        held += stream.nbytes
        stream = stream.stream
    return held


def _can_send_eof(stream: object) -> bool:
    """Tell whether a stream can be closed in one direction.

    Of one that only hands that on, the type does not tell.
    """
    while isinstance(stream, HandsOn):
        stream = stream.stream
    return isinstance(stream, trio.abc.HalfCloseableStream)
