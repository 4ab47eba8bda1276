"""A standard socket object around a descriptor that stays its owner's.

Dropping such an object would close the descriptor, and a signal handler that
raises can have it dropped between any two calls. So the object is there, in a
variable, before the descriptor is put into it; and what takes the descriptor
out again is one call into C, with nothing before it at which Python looks for
signals. (``socket.detach`` is a Python function, and does look.)
"""

from __future__ import annotations

import errno
import os
import socket
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_detach = socket.SocketType.detach


def keeping_mode(init: Callable[..., None]) -> Callable[..., None]:
    """Return a type's ``__init__`` that leaves a descriptor's mode alone.

    PyPy's makes it blocking, for all who have the socket.
    """
    if sys.implementation.name != "pypy":
        return init

    def keep(sock: object, *args: Any) -> None:
        fd = args[-1]
        blocking = os.get_blocking(fd)
        try:
            init(sock, *args)
        finally:
            os.set_blocking(fd, blocking)

    return keep


_init = keeping_mode(socket.socket.__init__)


@contextmanager
def borrowed_socket(
    fd: int, family: int = -1, kind: int = -1
) -> Iterator[socket.socket]:
    """Make a socket object for the length of a ``with`` block.

    Args:
      fd: A socket.
      family: Any one that the calls to be made do not look at; by default
        the socket's own, for which CPython asks the kernel.
      kind: A type, as ``family``.
    """
    if not -(2**31) <= fd < 2**31:
        # Or CPython takes another, with the same lower 32 bits.
        raise OverflowError(f"fd must be a descriptor, not {fd}")
    if fd < 0:
        # A closed socket's, which the kernel answers so.
        raise OSError(errno.EBADF, os.strerror(errno.EBADF))
    borrowed = socket.socket.__new__(socket.socket)
    try:
        try:
            _init(borrowed, family, kind, -1 if family < 0 else 0, fd)
        except OSError:
            if family >= 0 or sys.platform != "win32":
                raise
            # There getsockname(2) fails until the socket has a name, of which
            # CPython takes the family: before the first datagram it sends.
            _init(borrowed, _family_of(fd), kind, 0, fd)
        if socket.getdefaulttimeout() is not None:
            # Or the call would wait that long.
            borrowed.setblocking(False)
        yield borrowed
    finally:
        _detach(borrowed)


def _family_of(fd: int) -> int:
    """Return the family of an internet socket that need not have a name."""
    with borrowed_socket(fd, socket.AF_INET6) as sock:
        try:
            # A socket of IPv4 does not know it.
            sock.getsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY)
        except OSError:
            return int(socket.AF_INET)
    return int(socket.AF_INET6)
