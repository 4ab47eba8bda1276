"""sendfile(2), through the standard library.

The twin of ``splice_c``, without a ``Relay``: what is not in the core is
copied.
"""

from __future__ import annotations

import os
import signal
import socket
from contextlib import contextmanager
from typing import TYPE_CHECKING

from triobatch._core.borrowed_socket import borrowed_socket
from triobatch._core.chunks import COPY_SIZE
from triobatch._core.counts import checked
from triobatch._core.flags import MSG_DONTWAIT, MSG_MORE, MSG_NOSIGNAL
from triobatch._core.streams_python import send

if TYPE_CHECKING:
    from collections.abc import Iterator


@contextmanager
def _sigpipe_held_off() -> Iterator[None]:
    """Take the SIGPIPE that a call makes; see ``splice.c``."""
    only = {signal.SIGPIPE}
    pending = signal.SIGPIPE in signal.sigpending()
    before = signal.pthread_sigmask(signal.SIG_BLOCK, only)
    try:
        yield
    finally:
        # Only one that is pending is waited for.
        if not pending and signal.SIGPIPE in signal.sigpending():
            signal.sigwait(only)
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def send_file(fd: int, file: int, offset: int, size: int) -> int:
    """Send a part of a file with one ``sendfile(2)``.

    Returns:
      The bytes taken; 0 at the end of the file.
    """
    if not hasattr(os, "sendfile"):
        # Windows.
        data = read_file(file, offset, min(size, COPY_SIZE))
        return send(fd, data) if data else 0
    # It has no flag for this. The mode belongs to all who share the socket,
    # and any of them may have changed it (fcntl(2), F_SETFL).
    os.set_blocking(fd, False)
    with _sigpipe_held_off():
        return checked(os.sendfile(fd, file, offset, size), size)


def read_file(file: int, offset: int, size: int) -> bytes:
    """Read a part of a file; less than ``size`` only at its end."""
    pieces = []
    while size:
        piece = _pread(file, size, offset)
        if not piece:
            break
        pieces.append(piece)
        offset += len(piece)
        size -= len(piece)
    return pieces[0] if len(pieces) == 1 else b"".join(pieces)


def _seek_and_read(file: int, size: int, offset: int) -> bytes:
    """Do as pread(2), for Windows; the position is another meanwhile."""
    position = os.lseek(file, 0, os.SEEK_CUR)
    try:
        os.lseek(file, offset, os.SEEK_SET)
        return os.read(file, size)
    finally:
        os.lseek(file, position, os.SEEK_SET)


_pread = getattr(os, "pread", _seek_and_read)

_MORE = MSG_DONTWAIT | MSG_NOSIGNAL | MSG_MORE

# Not on Linux before 4.14, nor elsewhere.
_NO_WAIT: int | None = getattr(os, "RWF_NOWAIT", None)
_CACHED_STEP = 65536


def send_more(fd: int, data: bytes | memoryview) -> int:
    """Send a piece, of which more will follow; return the bytes taken."""
    with borrowed_socket(fd, socket.AF_INET, socket.SOCK_STREAM) as sock:
        return checked(sock.send(data, _MORE), len(data))


def cached(file: int, offset: int, size: int) -> int:
    """Return how much of a part of a file is in memory, from its front on.

    By samples; all of it where the file system cannot tell.
    """
    if _NO_WAIT is None:
        return size
    byte = [bytearray(1)]
    try:
        for found in range(0, size, _CACHED_STEP):
            os.preadv(file, byte, offset + found, _NO_WAIT)
    except BlockingIOError:
        return found
    except OSError:
        return size
    return size
