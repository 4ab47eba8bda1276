"""A stream that a library owns, and others send on too.

A library that speaks a protocol takes a stream, and sends on it when it likes:
trio-websocket answers a ping from the task that reads. A broadcast that holds
the stream just then makes that task fail with ``BusyResourceError``. So the
library gets a stream whose ``send_all`` queues a message in the batch sender
through which all others send.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable
from contextlib import suppress
from typing import Any, cast

import trio
from trio.lowlevel import enable_ki_protection

from triobatch._queues.buffers import Buffers
from triobatch._queues.views import check_chunks
from triobatch._resource import async_scope, only_async
from triobatch._senders.open import (
    DEFAULT_GRACE,
    DEFAULT_MAX_BUFFERED,
    check_room,
    open_batch_sender,
)
from triobatch._senders.stream_sender import BatchSender
from triobatch._streams.outermost import HandsOn
from triobatch._streams.stream import BatchSocketStream
from triobatch._wire.described import described
from triobatch._wire.hints import Buffer

# Seconds for what a stream has to say when it is closed, where there is no
# grace time, or none is left.
_LEAST_CLOSING = 0.1


@only_async
class SharedStream(HandsOn, trio.abc.HalfCloseableStream):
    """A stream on which any number of tasks send; see ``open_shared_stream``.

    Attributes:
      stream: The stream that it shares.
      sender: The ``BatchSender`` through which everybody sends, which tells
        what was not sent.
    """

    _takes_messages = True

    def __init__(
        self, stream: trio.abc.Stream, sender: BatchSender, grace: float
    ) -> None:
        self.stream: trio.abc.Stream = stream
        self.sender = sender
        self._grace = grace
        # Whether somebody closes the stream below, and whether that is done.
        self._closing = False
        self._closed = trio.Event()

    @described
    def __repr__(self) -> str:
        closed = "closed, " if self._closed.is_set() else ""
        return f"{closed}on {self.stream!r}"

    @property
    def socket(self) -> Any:
        """The shared stream's socket, if any, which libraries ask for."""
        return cast("Any", self.stream).socket

    async def send_all(self, data: Buffer) -> None:
        """Queue a message, whole, behind those of the others.

        Args:
          data: A bytes-like object; one that is not ``bytes`` is copied.

        Raises:
          TypeError: ``data`` does not have the buffer protocol.
          BufferError: ``data`` is not contiguous.
          trio.BrokenResourceError: the connection broke, now or earlier.
          trio.ClosedResourceError: this stream was closed, or ``send_eof``
            was called, or the block was left.

        It waits while too much is queued, and is never busy. After any
        exception the message is not queued, and will not be sent. See
        ``BatchSender.send``, also for when it yields.
        """
        await self.sender.send(data)

    async def send_buffers(self, buffers: Buffers | Iterable[Buffer]) -> int:
        """Queue chunks as one message; see ``send_all``.

        Args:
          buffers: A ``Buffers``, which is empty when it is queued, and whose
            mutable chunks stay exported until they are sent; or any iterable
            of bytes-like objects, which are copied.

        Returns:
          The bytes queued, which is all that there were.
        """
        if isinstance(buffers, Buffers):
            size = buffers.nbytes
            await self.sender.send(buffers)
            return size
        if type(buffers) not in (list, tuple):
            check_chunks(buffers, "buffers")
        message = Buffers(buffers).read()
        await self.sender.send(message)
        return len(message)

    def queue_nowait(self, data: Buffer | Buffers) -> None:
        """Queue a message, if there is room; see ``BatchSender.send_nowait``.

        It is how ``broadcast`` sends on this stream.
        """
        self.sender.send_nowait(data)

    # How ``broadcast`` sends past the sending task, while that has nothing to
    # do: not for a subclass whose ``queue_nowait`` is its own.

    def _idle_stream(self) -> BatchSocketStream | None:
        return self.sender._task.idle_stream()

    def _sent_past(self, message: bytes, sent: int) -> None:
        self.sender._task.sent_past(message, sent)

    async def wait_send_all_might_not_block(self) -> None:
        """Wait until there is room, behind others who wait for some.

        Raises:
          trio.BrokenResourceError: the connection broke.
          trio.ClosedResourceError: this stream was closed.
        """
        # An empty message waits as all do, and is not queued.
        await self.sender.send(b"")

    async def send_eof(self) -> None:
        """Send all that is queued, and then an end-of-file.

        Raises:
          AttributeError: the shared stream cannot do that.
          trio.BusyResourceError: another task is in this call.
          trio.BrokenResourceError: the connection broke.
          trio.ClosedResourceError: this stream was closed.

        From the call on nothing more can be sent. If it is cancelled, call it
        again.
        """
        send_eof = cast("trio.abc.HalfCloseableStream", self.stream).send_eof
        await self.sender._task.send_the_rest()
        await send_eof()

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        """Receive from the shared stream; see its own ``receive_some``."""
        return bytes(await self.stream.receive_some(max_bytes))

    @enable_ki_protection
    async def aclose(self) -> None:
        """Send what is queued, as far as the grace time allows, and close.

        Nothing more can be queued, and those who wait for room get
        ``ClosedResourceError``. ``sender`` tells what was not sent. What the
        stream itself has to say at its end, as TLS has, is waited for no
        longer either. If it is cancelled, the stream is closed at once.
        """
        task = self.sender._task
        task.finish()
        grace = trio.CancelScope(deadline=trio.current_time() + self._grace)
        try:
            with grace:
                await task.wait_ended()
        finally:
            # Through TLS nothing can be sent beside it, its end included.
            task.stop()
            task.hurry()
            try:
                with trio.CancelScope(shield=True):
                    await task.wait_ended()
            finally:
                try:
                    # TLS says its end to a peer that may take nothing more.
                    ends = trio.current_time() + _LEAST_CLOSING
                    with trio.CancelScope(deadline=max(ends, grace.deadline)):
                        await self._close_stream()
                finally:
                    # Not before: who waits for it may close by force.
                    self._closed.set()

    async def _close_stream(self) -> None:
        if self._closing and not self._closed.is_set():
            # TLS says its end once: a second one at it would close the
            # connection before the first has sent that.
            try:
                await self._closed.wait()
            finally:
                if not self._closed.is_set():
                    # Cancelled: it is closed at once.
                    await trio.aclose_forcefully(self.stream)
        else:
            self._closing = True
            # It is what a second one closes by force.
            with suppress(trio.ClosedResourceError):
                await self.stream.aclose()

    async def wait_closed(self) -> None:
        """Wait until somebody has closed it."""
        await self._closed.wait()


@async_scope
@enable_ki_protection
async def open_shared_stream(
    stream: trio.abc.Stream,
    *,
    max_buffered: int = DEFAULT_MAX_BUFFERED,
    grace: float = DEFAULT_GRACE,
) -> AsyncIterator[SharedStream]:
    """Share a stream between a library and others who send on it.

    The library uses the ``SharedStream`` as it would use the stream: what it
    sends is queued, whole, in order with what everybody else sends. ::

        async with triobatch.open_shared_stream(stream) as shared:
            async with trio.open_nursery() as nursery:
                request = await wrap_server_stream(nursery, shared)
                websocket = await request.accept()
                await shared.sender.send(frame)

    Args:
      stream: A ``BatchSocketStream``, or any other ``trio.abc.Stream``, as
        ``trio.SSLStream``, on which nobody sends but through this.
      max_buffered: Bytes. Whoever sends waits while more than this is queued.
      grace: Seconds that a message which is part-way out may take to be
        finished when the block is left by an exception; and that ``aclose``
        takes for what is queued.

    Returns:
      A context manager, for a ``SharedStream``.

    Raises:
      TypeError, ValueError: an argument is impossible.
      trio.BrokenResourceError, trio.ClosedResourceError: as for
        ``open_batch_sender``, whose block this is: see there what leaving it
        means.
    """
    if not isinstance(stream, trio.abc.SendStream):
        raise TypeError(
            f"stream must be a trio.abc.Stream, not {type(stream).__name__}"
        )
    max_buffered, grace = check_room(max_buffered, grace)
    async with open_batch_sender(
        stream, max_buffered=max_buffered, grace=grace
    ) as sender:
        yield SharedStream(stream, sender, grace)
