"""Vectored system calls on files and pipes.

CPython fills in the iovecs at 10 ns a buffer, which cffi does at 105 and more,
so the standard library serves both cores.
"""

from __future__ import annotations

import errno
import os
from contextlib import contextmanager
from itertools import islice
from typing import TYPE_CHECKING

from triobatch._core.chunks import IOV_MAX

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from typing_extensions import Buffer


def _offered(buffers: Iterable[Buffer]) -> list[Buffer]:
    try:
        return list(islice(buffers, IOV_MAX))
    except (NotImplementedError, SystemError):
        # A view of two dimensions, or one that was released (CPython 3.11).
        raise TypeError(
            f"buffers must be an iterable of buffers, not {buffers!r}"
        ) from None


def writev(fd: int, buffers: Iterable[Buffer]) -> int:
    """Write buffers, in order, with one ``writev(2)``.

    Args:
      fd: An open file descriptor: a file, a pipe, a socket.
      buffers: Objects with the buffer protocol; a ``Buffers`` is not
        consumed. Only the first IOV_MAX
        (``capabilities().iov_max``) are offered.

    Returns:
      The bytes written; fewer than were offered when the kernel took part of
      them (``writev(2)``), which is not an error.

    Raises:
      BlockingIOError: ``fd`` is non-blocking, and nothing could be written.
      OSError: the call failed for another reason, and nothing was written.
    """
    with _exported():
        return os.writev(fd, _offered(buffers))


def readv(fd: int, buffers: Iterable[Buffer]) -> int:
    """Read into buffers, in order, with one ``readv(2)``.

    Args:
      fd: An open file descriptor: a file, a pipe, a socket.
      buffers: Writable objects with the buffer protocol. Only the first
        IOV_MAX (``capabilities().iov_max``) are filled.

    Returns:
      The bytes read, 0 at the end. (Also 0 when the buffers have no room.)

    Raises:
      BlockingIOError: ``fd`` is non-blocking, and nothing is there yet.
      OSError: the call failed for another reason.
    """
    with _exported():
        return os.readv(fd, _offered(buffers))


def pwritev(fd: int, buffers: Iterable[Buffer], offset: int) -> int:
    """Write buffers at a place in a file, with one ``pwritev(2)``.

    The file's own position is neither used nor moved. (Linux appends all the
    same when the file was opened with O_APPEND: ``pwrite(2)``, BUGS.)

    Args:
      fd: A descriptor of a file that can seek.
      buffers: Objects with the buffer protocol; a ``Buffers`` is not
        consumed. Only the first IOV_MAX
        (``capabilities().iov_max``) are offered.
      offset: Where to write, in bytes from the start of the file.

    Returns:
      The bytes written, possibly fewer than were offered.

    Raises:
      OSError: the call failed, and nothing was written.
    """
    _refuse_negative(offset)
    with _exported():
        return os.pwritev(fd, _offered(buffers), offset)


def preadv(fd: int, buffers: Iterable[Buffer], offset: int) -> int:
    """Read into buffers from a place in a file, with one ``preadv(2)``.

    The file's own position is neither used nor moved.

    Args:
      fd: A descriptor of a file that can seek.
      buffers: Writable objects with the buffer protocol. Only the first
        IOV_MAX (``capabilities().iov_max``) are filled.
      offset: Where to read, in bytes from the start of the file.

    Returns:
      The bytes read, 0 at the end of the file.

    Raises:
      OSError: the call failed.
    """
    _refuse_negative(offset)
    with _exported():
        return os.preadv(fd, _offered(buffers), offset)


@contextmanager
def _exported() -> Iterator[None]:
    """Raise BufferError for what has nothing to export, as everywhere."""
    try:
        yield
    except ValueError as error:
        # A view that was released, a closed mmap, an array of dates.
        raise BufferError(f"a buffer has no bytes to give: {error}") from None


def _refuse_negative(offset: int) -> None:
    # As preadv(2) does. CPython calls preadv2(2), to which -1 is the file's
    # own position.
    if offset < 0:
        raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
