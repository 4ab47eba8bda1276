"""Vectored system calls on files and pipes.

CPython fills in the iovecs at 10 ns a buffer, which cffi does at 105 and more,
so the standard library serves both cores. Where it has no vectored calls, as
in PyPy and on Windows, one call on one piece stands for each: the kernel may
always take or bring less than it is offered.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import islice

from triobatch._core.chunks import COPY_SIZE, IOV_MAX
from triobatch._wire.hints import Buffer


def _offered(buffers: Iterable[Buffer]) -> list[Buffer]:
    try:
        return list(islice(buffers, IOV_MAX))
    except (NotImplementedError, SystemError, ValueError) as error:
        if not _is_buffer(buffers):
            # The caller's own, as of a generator.
            raise
        if isinstance(error, ValueError):
            raise _no_bytes(error) from None
        # One of two dimensions, or one that was released (CPython 3.11).
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
    offered = _offered(buffers)
    try:
        return _writev(fd, offered)
    except ValueError as error:
        raise _no_bytes(error) from None
    finally:
        # Let go of, even when a traceback keeps the list.
        offered.clear()


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
    offered = _offered(buffers)
    try:
        return _readv(fd, offered)
    except ValueError as error:
        raise _no_bytes(error) from None
    finally:
        # Let go of, even when a traceback keeps the list.
        offered.clear()


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
      OSError: the call failed, and nothing was written. ENOSYS: this system
        has none, as Windows.
    """
    _refuse_negative(offset)
    offered = _offered(buffers)
    try:
        return _pwritev(fd, offered, offset)
    except ValueError as error:
        raise _no_bytes(error) from None
    finally:
        # Let go of, even when a traceback keeps the list.
        offered.clear()


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
      OSError: the call failed. ENOSYS: this system has none, as Windows.
    """
    _refuse_negative(offset)
    offered = _offered(buffers)
    try:
        return _preadv(fd, offered, offset)
    except ValueError as error:
        raise _no_bytes(error) from None
    finally:
        # Let go of, even when a traceback keeps the list.
        offered.clear()


def _is_buffer(candidate: object) -> bool:
    try:
        memoryview(candidate).release()  # type: ignore[arg-type]
    except TypeError:
        return False
    except ValueError:
        # One that was released, or closed.
        pass
    return True


def _no_bytes(error: ValueError) -> BufferError:
    """Return what is raised for a buffer that exports nothing, everywhere."""
    # A view that was released, a closed mmap, an array of dates.
    return BufferError(f"a buffer has no bytes to give: {error}")


def _refuse_negative(offset: int) -> None:
    # As preadv(2) does. CPython calls preadv2(2), to which -1 is the file's
    # own position.
    if offset < 0:
        raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))


def _octets(view: memoryview) -> memoryview:
    # As the vectored calls ask for them (PyBUF_SIMPLE).
    if not view.c_contiguous:
        raise BufferError("a buffer is not contiguous")
    # An array of no rows cannot be cast.
    return view.cast("B") if view.nbytes else memoryview(bytearray())


def _in_one_piece(buffers: list[Buffer]) -> bytes:
    """Copy the front of what is to be written, COPY_SIZE bytes at most."""
    piece = bytearray()
    for buffer in buffers:
        with memoryview(buffer) as view, _octets(view) as octets:
            piece += octets[: COPY_SIZE - len(piece)]
        if len(piece) == COPY_SIZE:
            break
    return bytes(piece)


@contextmanager
def _room(buffers: list[Buffer]) -> Iterator[list[memoryview]]:
    views: list[memoryview] = []
    try:
        for buffer in buffers:
            with memoryview(buffer) as view:
                if view.readonly:
                    raise BufferError("a buffer is read-only")
                views.append(_octets(view))
        yield views
    finally:
        # Let go of, even when a traceback keeps the list.
        for view in views:
            view.release()


def spread(piece: bytes, room: Sequence[memoryview]) -> int:
    """Copy what was read into the buffers; return the bytes read."""
    start = 0
    for view in room:
        part = piece[start : start + len(view)]
        view[: len(part)] = part
        start += len(part)
    return len(piece)


def _size_of(room: list[memoryview]) -> int:
    return min(sum(map(len, room)), COPY_SIZE)


def _write_joined(fd: int, buffers: list[Buffer]) -> int:
    return os.write(fd, _in_one_piece(buffers))


def _read_and_spread(fd: int, buffers: list[Buffer]) -> int:
    with _room(buffers) as room:
        return spread(os.read(fd, _size_of(room)), room)


def _pwrite_joined(fd: int, buffers: list[Buffer], offset: int) -> int:
    if not hasattr(os, "pwrite"):
        raise OSError(errno.ENOSYS, "this system has no pwritev")
    return os.pwrite(fd, _in_one_piece(buffers), offset)


def _pread_and_spread(fd: int, buffers: list[Buffer], offset: int) -> int:
    if not hasattr(os, "pread"):
        raise OSError(errno.ENOSYS, "this system has no preadv")
    with _room(buffers) as room:
        return spread(os.pread(fd, _size_of(room), offset), room)


_writev = getattr(os, "writev", _write_joined)
_readv = getattr(os, "readv", _read_and_spread)
_pwritev = getattr(os, "pwritev", _pwrite_joined)
_preadv = getattr(os, "preadv", _pread_and_spread)
