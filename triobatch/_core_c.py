"""System calls on stream sockets, through the C core.

The twin of ``_core_python``: the same names, the same results. One call of
the core an operation, because each costs about 100 ns and a hand-over of the
GIL; its functions bound here, which saves the look-up on ``lib``.
"""

from __future__ import annotations

import os
import threading
from typing import TYPE_CHECKING, cast

from triobatch import _core_python
from triobatch._chunks import COPY_SIZE
from triobatch._core import ffi, lib

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

_copy: Callable[
    [list[bytes | memoryview], int, int, int, int], tuple[int, int]
]
_point_to_bytes: Callable[[list[bytes | memoryview], int, int], bool]
try:
    from triobatch._chunks_c import copy as _copy
    from triobatch._chunks_c import point as _point_to_bytes
except ImportError:
    # PyPy and free-threaded builds: what follows copes without.
    _copy = lambda *_: (0, -1)  # noqa: E731
    _point_to_bytes = lambda *_: False  # noqa: E731

_from_buffer = ffi.from_buffer
_send = lib.tb_send
_send_vector = lib.tb_send_vector
_receive_vector = lib.tb_receive_vector
_point = lib.tb_point


def _result(result: int) -> int:
    if result < 0:
        raise OSError(-result, os.strerror(-result))
    return result


def send(fd: int, data: bytes | memoryview) -> int:
    """Send one piece with one ``send(2)``; return the bytes taken."""
    if type(data) is bytes:
        # cffi passes the pointer itself; any other type must be exported.
        return _result(_send(fd, data, len(data)))
    with _from_buffer(data) as exported:
        return _result(_send(fd, exported, len(exported)))


class _Scratch(threading.local):
    """Where small chunks are copied to; memory of each thread's own.

    It is filled and sent in one go, with no await between, so the streams of
    a thread can share it. A fresh bytes object of this size would go through
    malloc's trimming, and fault its pages in, each time: 1.4 times the cost.
    """

    def __init__(self) -> None:
        self.memory = ffi.new("char[]", COPY_SIZE)
        self.address = int(ffi.cast("uintptr_t", self.memory))


_scratch = _Scratch()


def send_copied(
    fd: int, chunks: list[bytes | memoryview], index: int, offset: int
) -> tuple[int, int]:
    """Copy chunks into one piece, and send it with one ``send(2)``.

    Args:
      fd: A stream socket.
      chunks: At most COPY_SIZE bytes of them are copied.
      index: The chunk to start with.
      offset: Where it starts, in bytes.

    Returns:
      The bytes taken, and the bytes offered.
    """
    copied, _ = _copy(chunks, index, offset, _scratch.address, COPY_SIZE)
    if copied:
        return _result(_send(fd, _scratch.memory, copied)), copied
    return _core_python.send_copied(fd, chunks, index, offset, send)


def copy_list(chunks: list[object]) -> int:
    """Copy a list of bytes whole; return their size, or -1 if it cannot be.

    ``send_copy`` sends the copy, if nothing else is sent in between.
    """
    copied, index = _copy(
        cast("list[bytes | memoryview]", chunks),
        0,
        0,
        _scratch.address,
        COPY_SIZE,
    )
    return copied if index == len(chunks) else -1


def send_copy(fd: int, size: int) -> int:
    """Send the ``size`` bytes that ``copy_list`` copied."""
    return _result(_send(fd, _scratch.memory, size))


class Vector:
    """A gathered send: an iovec array built once, and advanced in C.

    Args:
      chunks: At least one and at most IOV_MAX. The caller keeps every one of
        them alive, and exported, until its last byte is sent: this points to
        them and holds nothing.
      offset: Where the first one starts, in bytes.
    """

    __slots__ = ("_iovecs", "_vector")

    def __init__(self, chunks: list[bytes | memoryview], offset: int) -> None:
        count = len(chunks)
        self._iovecs = ffi.new("struct iovec[]", count)
        self._vector = ffi.new("struct tb_vector *", (self._iovecs, count, 0))
        address = int(ffi.cast("uintptr_t", self._iovecs))
        if not _point_to_bytes(chunks, offset, address):
            # The exports end with this call. The caller's go on.
            bases = list(map(_from_buffer, chunks))
            sizes = list(map(len, chunks))
            bases[0] += offset
            sizes[0] -= offset
            _point(self._iovecs, bases, sizes, count)

    def send(self, fd: int) -> int:
        """Send what is left with one ``sendmsg(2)``; return the bytes."""
        return _result(_send_vector(fd, self._vector))

    @property
    def sent_all(self) -> bool:
        """Whether nothing is left."""
        return bool(self._vector.next == self._vector.count)


def receive_into(fd: int, buffers: Sequence[memoryview]) -> int:
    """Fill at most IOV_MAX buffers with one ``recvmsg(2)``.

    Returns:
      The bytes received; 0 at the end of the stream.
    """
    iovecs = ffi.new("struct iovec[]", len(buffers))
    # Exported for the length of the call, by the list.
    bases = [_from_buffer(buffer, require_writable=True) for buffer in buffers]
    _point(iovecs, bases, list(map(len, buffers)), len(buffers))
    return _result(_receive_vector(fd, iovecs, len(buffers)))
