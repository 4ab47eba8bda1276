"""A stream to parse from: exactly so much, up to a delimiter, whole frames."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TypeVar

import trio
from trio.lowlevel import (
    cancel_shielded_checkpoint,
    checkpoint_if_cancelled,
    enable_ki_protection,
)

from triobatch._queues.buffers import Buffers
from triobatch._queues.views import view_of_bytes, writable_views
from triobatch._resource import Guard, only_async
from triobatch._streams.filling import Filling
from triobatch._streams.outermost import HandsOn
from triobatch._streams.plain import is_plain_both_ways
from triobatch._streams.received import FrameTooLargeError, Received
from triobatch._streams.send_buffers import send_buffers
from triobatch._streams.stream import DEFAULT_RECEIVE_SIZE
from triobatch._wire.arguments import as_integer, at_least, must_be
from triobatch._wire.described import described
from triobatch._wire.hints import Buffer

T = TypeVar("T")

DEFAULT_LIMIT = 2**20


@only_async
class BufferedReceiveStream(HandsOn, trio.abc.HalfCloseableStream):
    """A stream that keeps what it has received until it is asked for.

    Each method takes what it promises, or nothing: what was received when it
    was cancelled, or failed, is there for the next. A protocol whose frames
    are small asks for all of them at once, with ``receive_frames``, and pays
    one checkpoint for as many as one system call has brought.

    ``receive_some`` gives back what is left, and the sending methods hand on
    to ``stream``, so anything that takes a stream takes this one:
    ``trio.SSLStream(reader, ...)`` after a header in the clear, say.

    Args:
      stream: Where from: any ``trio.abc.ReceiveStream``. Nobody else may
        receive from it, unless ``nbytes`` is 0. Closing this one closes it.

    Raises:
      TypeError: ``stream`` cannot receive.

    Attributes:
      stream: The stream below.
    """

    def __init__(self, stream: trio.abc.ReceiveStream) -> None:
        if not isinstance(stream, trio.abc.ReceiveStream):
            raise TypeError(
                "stream must be a trio.abc.ReceiveStream, not "
                f"{type(stream).__name__}"
            )
        self.stream: trio.abc.ReceiveStream = stream
        self._received = Received()
        self._guard = Guard(
            "another task is currently receiving from this "
            "BufferedReceiveStream"
        )

    @described
    def __repr__(self) -> str:
        return f"{self.nbytes} bytes received, of {self.stream!r}"

    @property
    def nbytes(self) -> int:
        """The bytes that were received, and are not taken yet.

        After an ``EOFError``, 0 means that the end was between two frames.
        """
        return self._received.nbytes

    @enable_ki_protection
    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        """Return what is there, or receive what comes next.

        Args:
          max_bytes: At most this many; all that is there by default.

        Returns:
          At least one byte; ``b""`` at the end of the stream.

        Raises:
          ValueError: ``max_bytes`` is below 1.
          trio.BusyResourceError: another task is receiving from this stream.
          trio.ClosedResourceError: this stream was closed.
          trio.BrokenResourceError: the connection broke.
        """
        if max_bytes is not None and (
            type(max_bytes) is not int or max_bytes < 1
        ):
            max_bytes = at_least(1, max_bytes, "max_bytes")
        with self._guard:
            if not self.nbytes:
                return bytes(await self.stream.receive_some(max_bytes))
            await checkpoint_if_cancelled()
            taken = self._received.take(
                self.nbytes if max_bytes is None else max_bytes
            )
            await cancel_shielded_checkpoint()
            return taken

    async def receive_exactly(self, size: int) -> bytes:
        """Receive so many bytes, no more and no fewer.

        Args:
          size: In bytes, 0 or more.

        Returns:
          That many bytes.

        Raises:
          ValueError: ``size`` is negative.
          EOFError: the stream ended before; what came is kept.
          trio.BusyResourceError: another task is receiving from this stream.
          trio.ClosedResourceError: this stream was closed.
          trio.BrokenResourceError: the connection broke.
        """
        if type(size) is not int or size < 0:
            size = at_least(0, size, "size")

        taken = await self._receive_measured(
            lambda: size if self.nbytes >= size else None
        )
        if taken is None:
            raise self._ended(f"{size} bytes")
        return taken

    @enable_ki_protection
    async def receive_until(self, delimiter: Buffer, limit: int) -> bytes:
        """Receive up to a delimiter, and that too.

        Args:
          delimiter: At least one byte.
          limit: The most bytes that may come, with the delimiter.

        Returns:
          The bytes, which end with the delimiter; ``b""`` at the end of the
          stream, if nothing has come since the last one.

        Raises:
          TypeError: ``delimiter`` is not a bytes-like object.
          ValueError: it is empty, or longer than ``limit``.
          FrameTooLargeError: ``limit`` bytes have come without it. They are
            kept.
          EOFError: the stream ended before it; what came is kept.
          trio.BusyResourceError: another task is receiving from this stream.
          trio.ClosedResourceError: this stream was closed.
          trio.BrokenResourceError: the connection broke.
        """
        if type(delimiter) is bytes:
            mark = delimiter
        else:
            with view_of_bytes(delimiter, "delimiter") as view:
                mark = bytes(view)
        if not mark:
            raise ValueError("delimiter must not be empty")
        if type(limit) is not int:
            limit = as_integer(limit, "limit")
        if limit < len(mark):
            raise ValueError(
                f"limit must be at least the delimiter's {len(mark)} bytes, "
                f"not {limit}"
            )
        with self._guard:
            await checkpoint_if_cancelled()
            searched, waited = 0, False
            try:
                while not (size := self._received.find(mark, searched, limit)):
                    if self.nbytes >= limit:
                        raise FrameTooLargeError(
                            f"{limit} bytes have come without {mark!r}"
                        )
                    searched = max(0, self.nbytes - len(mark) + 1)
                    waited = True
                    if not await self._fill():
                        if self.nbytes:
                            raise self._ended(repr(mark))
                        return b""
                return self._received.take(size)
            finally:
                if not waited:
                    await cancel_shielded_checkpoint()

    @enable_ki_protection
    async def receive_frames(
        self,
        split: Callable[[memoryview], tuple[Sequence[T], int]],
        *,
        limit: int = DEFAULT_LIMIT,
    ) -> Sequence[T]:
        """Receive until there is a whole frame; return all whole ones.

        ::

            def split(data):
                # A byte that tells the size, and so many bytes.
                frames, end = [], 0
                while end < len(data) and end + data[end] < len(data):
                    start, end = end + 1, end + 1 + data[end]
                    frames.append(bytes(data[start:end]))
                return frames, end

            while frames := await reader.receive_frames(split):
                ...

        Args:
          split: Given a read-only view of what is there, returns the frames
            that are whole, of any type, and how many bytes it has used for
            them. The view begins where that ended the last time, so a
            ``split`` that scans may remember how far it got. A frame may be
            a slice of the view, which stays valid.
          limit: As soon as so many bytes are there, and no whole frame among
            them, the peer is not waited for any longer.

        Returns:
          What ``split`` has returned: at least one frame; an empty list at
          the end of the stream, if nothing has come since the last one.

        Raises:
          FrameTooLargeError: ``limit`` bytes have come without a whole frame.
            They are kept.
          EOFError: the stream ended within a frame; what came is kept.
          TypeError: what ``split`` has used is not an integer.
          ValueError: it is more bytes than there are, or none for the frames
            that it returns.
          trio.BusyResourceError: another task is receiving from this stream.
          trio.ClosedResourceError: this stream was closed.
          trio.BrokenResourceError: the connection broke.

        What ``split`` raises comes out, and nothing is taken.
        """
        if not callable(split):
            raise TypeError(must_be("split must be a function", split))
        if type(limit) is not int or limit < 1:
            limit = at_least(1, limit, "limit")
        with self._guard:
            await checkpoint_if_cancelled()
            received = self._received
            waited = False
            try:
                while True:
                    if received.nbytes:
                        frames = received.split(split)
                        if frames:
                            return frames
                        if received.nbytes >= limit:
                            raise FrameTooLargeError(
                                f"{received.nbytes} bytes have come without a "
                                "whole frame"
                            )
                    waited = True
                    if not await self._fill():
                        if received.nbytes:
                            raise self._ended("a whole frame")
                        return []
            finally:
                # Whatever split() has raised, others have had their turn.
                if not waited:
                    await cancel_shielded_checkpoint()

    @enable_ki_protection
    async def receive_into(self, buffers: Buffer | Sequence[Buffer]) -> int:
        """Fill memory of your own, to the full.

        The stream's own takes what is there. Here ``receive_some`` does.

        Args:
          buffers: A writable bytes-like object, or a sequence of them, which
            are filled in order.

        Returns:
          The bytes received, which is all the room that there was; 0 at the
          end of the stream, if nothing has come.

        Raises:
          TypeError: a buffer is read-only, or not a buffer.
          BufferError: a buffer is not contiguous.
          ValueError: the buffers have no room at all.
          EOFError: the stream ended before; what came is kept.
          trio.BusyResourceError: another task is receiving from this stream.
          trio.ClosedResourceError: this stream was closed.
          trio.BrokenResourceError: the connection broke.

        After any exception, ``Cancelled`` included, what came is there to be
        received again, and what the buffers hold is undefined.
        """
        with self._guard, writable_views(buffers) as views:
            await checkpoint_if_cancelled()
            waited = False
            with Filling(views, self._received) as filling:
                while filling.take():
                    if (
                        filling.room - filling.size >= DEFAULT_RECEIVE_SIZE
                        and is_plain_both_ways(self.stream)
                    ):
                        # More than a piece: where it is to be in the end.
                        size = await self.stream.receive_into(filling.rest())
                        filling.filled(size)
                    else:
                        size = await self._fill()
                    if not size:
                        if filling.size:
                            raise self._ended(
                                "the room was full", filling.size
                            )
                        return 0
                    waited = True
            if not waited:
                await cancel_shielded_checkpoint()
            return filling.size

    @enable_ki_protection
    async def _receive_measured(
        self, measure: Callable[[], int | None]
    ) -> bytes | None:
        """Take what ``measure`` tells, once it does; None at an end before."""
        with self._guard:
            await checkpoint_if_cancelled()
            waited = False
            try:
                while (size := measure()) is None:
                    waited = True
                    if not await self._fill():
                        return None
                return self._received.take(size)
            finally:
                # Also where the measure has refused what is there.
                if not waited:
                    await cancel_shielded_checkpoint()

    async def _fill(self) -> int:
        """Receive a piece; return its bytes, 0 at the end of the stream."""
        piece = await self.stream.receive_some()
        self._received.put(piece)
        return len(piece)

    def _ended(self, wanted: str, held: int = 0) -> EOFError:
        left = self.nbytes + held
        return EOFError(
            f"the stream ended before {wanted}: {left} bytes are left"
        )

    async def send_all(self, data: Buffer) -> None:
        """Send all of ``data`` on the stream below.

        Raises:
          TypeError: it cannot send.
        """
        await self._sender().send_all(data)  # type: ignore[arg-type]

    async def send_buffers(self, buffers: Buffers | Iterable[Buffer]) -> int:
        """Send chunks on the stream below; see ``triobatch.send_buffers``.

        Raises:
          TypeError: it cannot send.
        """
        return await send_buffers(self._sender(), buffers)

    async def wait_send_all_might_not_block(self) -> None:
        """Wait until sending on the stream below might not block.

        Raises:
          TypeError: it cannot send.
        """
        await self._sender().wait_send_all_might_not_block()

    async def send_eof(self) -> None:
        """Send an end-of-file on the stream below.

        Raises:
          TypeError: it has no such thing, as TLS has none.
        """
        sender = self._sender()
        if not isinstance(sender, trio.abc.HalfCloseableStream):
            kind = type(sender).__name__
            raise TypeError(f"{kind} cannot be closed in one direction")
        await sender.send_eof()

    def _sender(self) -> trio.abc.SendStream:
        if not isinstance(self.stream, trio.abc.SendStream):
            raise TypeError(
                "sending needs a trio.abc.SendStream, not "
                f"{type(self.stream).__name__}"
            )
        return self.stream

    async def aclose(self) -> None:
        """Close the stream below; what is left is dropped."""
        self._received = Received()
        await self.stream.aclose()
