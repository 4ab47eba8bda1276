"""A queue of byte chunks that is consumed from the front, as it is sent.

What a chunk costs, and who pays
--------------------------------
The chunks are kept in one list, with a cursor (an index, and an offset into
that chunk). ``bytes`` are kept as they are: they cannot change, so nothing has
to be exported, and a list of them is taken in with one C call. Everything else
with the buffer protocol is kept as a memoryview of its bytes, which holds it
exported: a ``bytearray`` cannot be resized under the kernel's feet, and its
items are counted in bytes whatever their type. (Counting items instead is how
``trio.SocketStream.send_all`` and asyncio's ``writelines`` came to lose data:
https://github.com/python/cpython/issues/135862.)

A consumed chunk is let go at once, so that memory falls while a long queue
goes out. Its slot in the list stays, as None, until more than half of the list
is such slots: so ``consume`` costs the chunks that it drops, amortised, and
never a pass over those that stay.
"""

from __future__ import annotations

import io
import sys
from collections.abc import Awaitable, Callable, Iterable, Iterator
from typing import ClassVar, Protocol, TypeAlias

from triobatch._core.chunks import front, locate, measure
from triobatch._core.counts import MORE_THAN_OFFERED, os_error
from triobatch._queues.twins import bare_twin
from triobatch._queues.views import (
    Chunk,
    check_chunks,
    read_only,
    release,
    take_in,
    view_of_bytes,
)
from triobatch._wire.arguments import as_integer
from triobatch._wire.described import described
from triobatch._wire.hints import Buffer, Self


class _Stream(Protocol):
    async def send_all(
        self, data: bytes | bytearray | memoryview, /
    ) -> None: ...


class _DatagramSocket(Protocol):
    async def send(self, data: Buffers, /) -> None: ...


class _AsyncFile(Protocol):
    @property
    def wrapped(self) -> io.RawIOBase | io.BufferedIOBase: ...


# What ``write_to`` takes, said without the event loop that it needs.
Target: TypeAlias = _Stream | _DatagramSocket | _AsyncFile


class Buffers:
    """A queue of byte chunks, consumed from the front as they are sent.

    ``len()`` is the chunks left, ``bool()`` whether any bytes are left,
    ``iter()`` the chunks left with the first one trimmed, and ``bytes()`` all
    that is left in one piece, or ``MemoryError``, and nothing changed, where
    that is more than memory holds. ``==`` is identity, as of a stream: what a
    queue holds changes as it is sent. Compare ``bytes()``.

    Args:
      chunks: Objects with the buffer protocol: ``bytes``, ``bytearray``,
        ``memoryview``, ``mmap``, ``array``, NumPy arrays. They are neither
        copied nor changed. Empty ones are dropped. A mutable one stays
        exported until its last byte is consumed (resizing it raises
        ``BufferError`` until then); what it holds when the kernel takes it is
        what is sent. PyPy, whose exports lock nothing, copies it instead.

    Raises:
      TypeError: a chunk does not have the buffer protocol, as ``str`` and
        ``int`` do not, or ``chunks`` is itself a single chunk.
      BufferError: a chunk is not contiguous.
    """

    __slots__ = (
        "__weakref__",
        "_chunks",
        "_claimed",
        "_index",
        "_nbytes",
        "_offset",
        "_views",
    )

    KIND: ClassVar[str] = "buffers"

    # This module knows no event loop, so it is handed in by the one that does
    # (_write_to.py), which every import of the package brings along.
    _write_to: ClassVar[Callable[[Buffers, Target], Awaitable[int]]]

    def __init__(self, chunks: Iterable[Buffer] = ()) -> None:
        self._chunks: list[Chunk] = []
        self._index = 0
        self._offset = 0
        self._nbytes = 0
        # Whether any chunk is a memoryview, which has to be released.
        self._views = False
        self._claimed = False
        self.extend(chunks)

    @property
    def nbytes(self) -> int:
        """The bytes left."""
        return self._nbytes

    def __len__(self) -> int:
        return len(self._chunks) - self._index

    def __bool__(self) -> bool:
        return self._nbytes > 0

    def __iter__(self) -> Iterator[Chunk]:
        left = self._chunks[self._index :]
        if self._offset:
            left[0] = memoryview(left[0])[self._offset :]
        if self._views:
            # Views of their own: ours are released as they are consumed.
            left = [
                chunk if type(chunk) is bytes else chunk[:] for chunk in left
            ]
        return iter(left)

    def __bytes__(self) -> bytes:
        return self._join(self._nbytes)

    @described
    def __repr__(self) -> str:
        return f"{len(self)} chunks, {self._nbytes} bytes left"

    def __reduce__(self) -> tuple[type[Self], tuple[list[bytes]]]:
        return type(self), ([bytes(chunk) for chunk in self],)

    def append(self, chunk: Buffer) -> None:
        """Add one chunk at the end.

        Raises:
          TypeError: ``chunk`` does not have the buffer protocol.
          BufferError: it is not contiguous.
        """
        self.extend((chunk,))

    def extend(self, chunks: Iterable[Buffer]) -> None:
        """Add chunks at the end: all of them, or none if one is refused.

        Raises:
          TypeError: a chunk does not have the buffer protocol, or ``chunks``
            is itself a single chunk.
          BufferError: a chunk is not contiguous.
        """
        if type(chunks) not in (list, tuple):
            check_chunks(chunks)
        offered: list[object] = list(chunks)
        size = measure(offered)
        if size < 0:
            kept, size = take_in(offered)
            self._views = True
        else:
            # Not cast(), whose call costs a sixth of this method.
            kept = offered  # type: ignore[assignment]
        if self._nbytes:
            queued = self._chunks
            queued += kept
        else:
            self._chunks = kept
        self._nbytes += size

    def consume(self, size: int) -> None:
        """Drop bytes from the front.

        Args:
          size: In bytes, 0 to ``nbytes``.

        Raises:
          ValueError: ``size`` is outside that range.
          BufferError: the buffers are being sent.
        """
        if type(size) is not int:
            size = as_integer(size, "size")
        if not 0 <= size <= self._nbytes:
            raise ValueError(
                f"size must be between 0 and {self._nbytes}, not {size}"
            )
        self._check_not_claimed()
        while size > sys.maxsize:
            # Views may have more bytes between them than memory has.
            self._consume(sys.maxsize)
            size -= sys.maxsize
        self._consume(size)

    def read(self, size: int = -1) -> bytes:
        """Copy bytes out from the front, and consume them.

        Args:
          size: At most this many bytes; all of them when negative.

        Returns:
          The bytes; fewer than ``size`` when fewer are left, ``b""`` when
          none are.

        Raises:
          BufferError: the buffers are being sent.
          MemoryError: they are more than memory holds. Nothing was consumed.
        """
        if type(size) is not int:
            size = as_integer(size, "size")
        if size < 0 or size > self._nbytes:
            size = self._nbytes
        self._check_not_claimed()
        copied = self._join(size)
        self._consume(size)
        return copied

    def readinto(self, buffer: Buffer) -> int:
        """Copy bytes from the front into ``buffer``, and consume them.

        Returns:
          The bytes copied: the size of ``buffer``, or all that was left.

        Raises:
          TypeError: ``buffer`` is read-only, or not a buffer.
          BufferError: it is not contiguous, or the buffers are being sent.
        """
        self._check_not_claimed()
        with view_of_bytes(buffer, "buffer") as room:
            if room.readonly:
                raise read_only(buffer)
            size = min(room.nbytes, self._nbytes)
            filled = 0
            for chunk in self._front(size):
                end = filled + len(chunk)
                room[filled:end] = chunk
                filled = end
        self._consume(size)
        return size

    def __copy__(self) -> Self:
        return self.copy()

    def copy(self) -> Self:
        """Return a queue of the same chunks, with a position of its own."""
        twin = bare_twin(self)
        Buffers.__init__(twin)
        left = self._chunks[self._index :]
        if self._views:
            left = [
                chunk if type(chunk) is bytes else chunk[:] for chunk in left
            ]
        twin._chunks = left
        twin._offset = self._offset
        twin._nbytes = self._nbytes
        twin._views = self._views
        return twin

    def clear(self) -> None:
        """Drop everything, and let go of what was exported.

        Raises:
          BufferError: the buffers are being sent.
        """
        self._check_not_claimed()
        dropped = self._chunks
        self._chunks = []
        self._index = self._offset = self._nbytes = 0
        self._views = False
        release(dropped)

    async def write_to(self, target: Target) -> int:
        """Write everything to ``target``, and consume it as it is taken.

        Args:
          target: A ``BatchSocketStream`` or any other
            ``trio.abc.SendStream`` (see ``send_buffers``), a
            ``trio.lowlevel.FdStream`` such as a pipe, a connected
            ``DatagramSocket`` (one datagram, never more), or an asynchronous
            file from ``trio.open_file`` in a binary mode.

        Returns:
          The bytes written, which is all that was left.

        Raises:
          TypeError: ``target`` is none of these.
          trio.BusyResourceError: these buffers are being sent already, or
            another task is sending on the stream.
          trio.ClosedResourceError: ``target`` was closed.
          ValueError: it is a file, and was closed.
          trio.BrokenResourceError: the connection, or the pipe, broke.
          OSError: writing to the file failed.

        After an exception, ``Cancelled`` included, the buffers hold exactly
        what was not written; ``send_buffers`` says where that cannot be
        known.
        """
        return await self._write_to(target)

    def _check_not_claimed(self) -> None:
        if self._claimed:
            raise BufferError("the buffers are being sent")

    # What the package does with a queue that is being sent, as the functions
    # at the end of this module. A claim on it is not looked at.

    def _position(self) -> tuple[list[Chunk], int, int, int]:
        """Return the chunks, where the first is, where it starts, and nbytes.

        One call instead of four reads: it is made for every send.
        """
        return self._chunks, self._index, self._offset, self._nbytes

    def _join(self, size: int) -> bytes:
        """Return a copy of the first ``size`` bytes."""
        if size > sys.maxsize:
            # Views may have more bytes between them than memory has.
            raise MemoryError(f"{size} bytes are more than memory holds")
        return b"".join(self._front(size))

    def _front(self, size: int) -> list[Chunk]:
        """Return what lies in the first ``size`` bytes, or all."""
        return front(self._chunks, self._index, self._offset, size)

    def _piece(self, size: int) -> Chunk:
        """Return the first ``size`` bytes, or all, copied only if need be."""
        front = self._front(size)
        return front[0] if len(front) == 1 else b"".join(front)

    def _window(self, count: int) -> list[Chunk]:
        """Return the first ``count`` chunks, or all."""
        window = self._chunks[self._index : self._index + count]
        if self._offset:
            window[0] = memoryview(window[0])[self._offset :]
        return window

    def _consume(self, size: int) -> int:
        """Drop the first ``size`` bytes; return what is left by then."""
        left = self._nbytes - size
        if left < 0:
            raise os_error(MORE_THAN_OFFERED)
        if not left and not self._views:
            # What one system call has taken whole, which is the rule.
            self._chunks = []
            self._index = self._offset = self._nbytes = 0
            return 0
        kept, start = self._chunks, self._index
        stop, offset = locate(kept, start, self._offset, size)
        dropped = kept[start:stop] if self._views else []
        spent = stop - start
        if stop * 2 > len(kept):
            kept = kept[stop:]
            stop = spent = 0
        # Side by side, with no call between: that is where a signal handler
        # or a finalizer could come in, and find the queue half changed. One
        # that came in above may have appended: so a difference.
        self._chunks = kept
        self._index = stop
        self._offset = offset
        self._nbytes -= size
        if spent:
            kept[start:stop] = [None] * spent  # type: ignore[list-item]
        # Views stay with a queue until it is empty.
        self._views = self._views and self._nbytes > 0
        release(dropped)
        return self._nbytes


# What is sent as one: bytes, or what is gathered from many.
Payload: TypeAlias = Buffer | Buffers

# For the package. As public methods they would let anybody consume what is
# being sent.
position = Buffers._position
first_bytes = Buffers._front
first_piece = Buffers._piece
first_chunks = Buffers._window
drop = Buffers._consume
