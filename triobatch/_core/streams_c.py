"""System calls on stream sockets, through the C core.

The twin of ``streams_python``: what is in both does the same, in both. A call
of the core costs about 100 ns and a hand-over of the GIL, so an operation
makes one of them, and a second only to write iovecs that the chunk extension
cannot. Its functions are bound here, which saves the look-up on ``lib``.
"""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING

from triobatch._core import streams_python
from triobatch._core._c import ffi, lib
from triobatch._core.choice import CHUNK_EXTENSION
from triobatch._core.chunks import COPY_SIZE, IOV_MAX
from triobatch._core.counts import os_error

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from triobatch._wire.hints import Buffer

_copy: Callable[[Sequence[Buffer], int, int, int, int], tuple[int, int]]
_point_to_bytes: Callable[[list[bytes | memoryview], int, int], bool]
if CHUNK_EXTENSION:
    from triobatch._core._chunks_c import copy as _copy
    from triobatch._core._chunks_c import point as _point_to_bytes
else:  # pragma: no cover (free-threaded builds)
    # What follows copes without.
    _copy = lambda *_: (0, -1)  # noqa: E731
    _point_to_bytes = lambda *_: False  # noqa: E731

_WOULD_BLOCK = -errno.EAGAIN

_from_buffer = ffi.from_buffer
_send = lib.tb_send
_send_vector = lib.tb_send_vector
_receive = lib.tb_receive
_receive_vector = lib.tb_receive_vector
_point = lib.tb_point
_broadcast = lib.tb_broadcast


def _result(result: int) -> int:
    if result < 0:
        raise os_error(-result)
    return result


def send(fd: int, data: bytes | memoryview) -> int:
    """Send one piece with one ``send(2)``; return the bytes taken."""
    if type(data) is bytes:
        # cffi passes the pointer itself; any other type must be exported.
        return _result(_send(fd, data, len(data)))
    with _from_buffer(data) as exported:
        return _result(_send(fd, exported, len(exported)))


class Vector:
    """A gathered send: an iovec array built once, and advanced in C.

    Args:
      chunks: At least one and at most IOV_MAX. The caller keeps those that
        are views exported until their last byte is sent.
      offset: Where the first one starts, in bytes.
    """

    __slots__ = ("_address", "_chunks", "_iovecs", "_vector")

    def __init__(self, chunks: list[bytes | memoryview], offset: int) -> None:
        # A pointer keeps nothing alive.
        self._chunks = chunks
        self._allocate(len(chunks))
        self.point(chunks, offset)

    @classmethod
    def with_room(cls, count: int) -> Vector:
        """Return one that points nowhere yet, to be used many times."""
        empty = cls.__new__(cls)
        empty._allocate(count)
        return empty

    def _allocate(self, count: int) -> None:
        self._iovecs = ffi.new("struct iovec[]", count)
        self._vector = ffi.new("struct tb_vector *", (self._iovecs, 0, 0))
        self._address = int(ffi.cast("uintptr_t", self._iovecs))

    def point(self, chunks: list[bytes | memoryview], offset: int) -> None:
        """Begin anew, with at most as many chunks as there is room for."""
        count = len(chunks)
        if not _point_to_bytes(chunks, offset, self._address):
            # The exports end with this call. The caller's go on.
            bases = list(map(_from_buffer, chunks))
            sizes = list(map(len, chunks))
            bases[0] += offset
            sizes[0] -= offset
            _point(self._iovecs, bases, sizes, count)
        self._vector.count = count
        self._vector.next = 0

    def send(self, fd: int) -> tuple[int, bool]:
        """Send what is left with one ``sendmsg(2)``.

        Returns:
          The bytes taken, and whether that is all of them.
        """
        vector = self._vector
        sent = _result(_send_vector(fd, vector))
        return sent, vector.next == vector.count


class Scratch:
    """Memory that chunks are copied to, or pointed to from, to be sent.

    It is used again and again. A bytes object of this size of its own would
    go through malloc's trimming, and fault its pages in, each time: 1.4 times
    the cost of the copy. A new array of iovecs costs 1 us.

    Whoever uses one takes it out of the pool, so neither another thread, nor
    a signal handler or a finalizer that runs in the midst of it, can disturb.
    One that is not given back is freed, and replaced when it is missed.
    """

    __slots__ = ("address", "contents", "memory", "vector")

    def __init__(self) -> None:
        self.vector = Vector.with_room(IOV_MAX)
        self.memory = ffi.new("char[]", COPY_SIZE)
        self.address = int(ffi.cast("uintptr_t", self.memory))
        self.contents = ffi.buffer(self.memory)

    def give_back(self) -> None:
        """Put it into the pool, or free it if that has enough."""
        if len(_pool) < POOL_SIZE:
            _pool.append(self)


_pool: list[Scratch] = []
# More than one are out only if threads, or finalizers, send at once.
POOL_SIZE = 4


def take_scratch() -> Scratch:
    """Take scratch memory out of the pool, or make some."""
    try:
        return _pool.pop()
    except IndexError:
        return Scratch()


def send_pointed(
    fd: int, chunks: list[bytes | memoryview], offset: int
) -> tuple[int, bool]:
    """Send chunks where they lie, with one ``sendmsg(2)``.

    Args:
      fd: A stream socket.
      chunks: At least one and at most IOV_MAX.
      offset: Where the first one starts, in bytes.

    Returns:
      The bytes taken, and whether that is all of them.
    """
    scratch = take_scratch()
    try:
        scratch.vector.point(chunks, offset)
        return scratch.vector.send(fd)
    finally:
        scratch.give_back()


def send_copied(
    fd: int, chunks: list[bytes | memoryview], index: int, offset: int
) -> tuple[int, bool]:
    """Copy chunks into one piece, and send it with one ``send(2)``.

    Args:
      fd: A stream socket.
      chunks: At most COPY_SIZE bytes of them are offered.
      index: The chunk to start with.
      offset: Where it starts, in bytes.

    Returns:
      The bytes taken, and whether that is all that was offered.
    """
    if index + 1 == len(chunks) and not offset:
        # A lone chunk needs not be copied, and this call owns a reference.
        chunk = chunks[index]
        if type(chunk) is bytes and len(chunk) <= COPY_SIZE:
            sent = _result(_send(fd, chunk, len(chunk)))
            return sent, sent == len(chunk)
    scratch = take_scratch()
    try:
        size, stop = _copy(chunks, index, offset, scratch.address, COPY_SIZE)
        if size and (stop == len(chunks) or type(chunks[stop]) is bytes):
            sent = _send(fd, scratch.memory, size)
            # Not _result(), whose call is a fiftieth of a small send.
            if sent < 0:
                raise os_error(-sent)
            return sent, sent == size
    finally:
        scratch.give_back()
    # One call for all kinds of chunks, and not one for each run of bytes.
    return streams_python.send_copied(fd, chunks, index, offset, send)


def send_list(
    fd: int, chunks: list[Buffer], room: int
) -> tuple[int, bytes | memoryview | None] | None:
    """Send a list whole, if all of it is bytes, with one ``send(2)``.

    Args:
      fd: A stream socket.
      chunks: Anything may be in it. More than one are copied.
      room: How many bytes to send at the most; several only up to COPY_SIZE.

    Returns:
      The bytes taken, 0 if the call would block, and the rest, or None when
      there is none; for any other list, and for no bytes, None.
    """
    if len(chunks) == 1:
        chunk = chunks[0]
        if type(chunk) is not bytes or not 0 < len(chunk) <= room:
            return None
        size = len(chunk)
        sent = _send(fd, chunk, size)
        if sent == size:
            return sent, None
        if sent == _WOULD_BLOCK:
            sent = 0
        return _result(sent), memoryview(chunk)[sent:]
    try:
        scratch = _pool.pop()
    except IndexError:
        scratch = Scratch()
    size, stop = _copy(chunks, 0, 0, scratch.address, room)
    if stop != len(chunks) or not size:
        scratch.give_back()
        return None
    sent = _send(fd, scratch.memory, size)
    rest = None
    if sent != size:
        if sent == _WOULD_BLOCK:
            sent = 0
        if sent >= 0:
            rest = scratch.contents[sent:size]
    if len(_pool) < POOL_SIZE:
        _pool.append(scratch)
    return (sent if sent >= 0 else _result(sent)), rest


def receive(fd: int, size: int, large: bool = False) -> bytes | None:
    """Receive at most ``size`` bytes with one ``recv(2)``.

    Args:
      fd: A stream socket.
      size: In bytes.
      large: Whether so many are expected that a copy costs more than new
        memory for ``size`` bytes.

    Returns:
      The bytes; ``b""`` at the end of the stream; None if it would block.
    """
    if large or size > COPY_SIZE:
        return streams_python.receive(fd, size)
    try:
        scratch = _pool.pop()
    except IndexError:
        scratch = Scratch()
    received = _receive(fd, scratch.memory, size)
    data: bytes | None = None
    if received >= 0:
        data = scratch.contents[:received]
    if len(_pool) < POOL_SIZE:
        _pool.append(scratch)
    if received < 0 and received != _WOULD_BLOCK:
        raise os_error(-received)
    return data


def receive_into(fd: int, buffers: Sequence[memoryview]) -> int | None:
    """Fill at most IOV_MAX buffers with one system call.

    Returns:
      The bytes received; 0 at the end of the stream; None if it would block.
    """
    received: int
    if len(buffers) == 1:
        with _from_buffer(buffers[0], require_writable=True) as room:
            received = _receive(fd, room, len(room))
    else:
        iovecs = ffi.new("struct iovec[]", len(buffers))
        bases = [
            _from_buffer(buffer, require_writable=True) for buffer in buffers
        ]
        _point(iovecs, bases, list(map(len, buffers)), len(buffers))
        received = _receive_vector(fd, iovecs, len(buffers))
        # Exported for the length of the call, even if a traceback keeps the
        # list.
        for base in bases:
            ffi.release(base)
    return None if received == _WOULD_BLOCK else _result(received)


def broadcast(fds: list[int], data: bytes) -> list[int]:
    """Send ``data`` to many descriptors, with one ``send(2)`` each.

    Returns:
      For each of them the bytes taken, or the errno, negative.
    """
    results = ffi.new("ssize_t[]", len(fds))
    _broadcast(fds, results, len(fds), data, len(data))
    return list(results)
