"""The one place where an errno becomes one of Trio's exceptions."""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING, NoReturn

import trio

if TYPE_CHECKING:
    from trio.socket import SocketType

# What a closed descriptor answers: EBADF, and ENOTSOCK on Windows or where
# something else has taken its number.
_CLOSED = frozenset((errno.EBADF, errno.ENOTSOCK))


def closed_socket() -> trio.ClosedResourceError:
    """Return the error for a socket that this process has closed."""
    return trio.ClosedResourceError("this socket was already closed")


def open_fd(socket: SocketType) -> int:
    """Return the descriptor of a socket that is open.

    Ask anew for each system call and each wait: a number that is kept over an
    await may be another file's by then. And ``wait_writable(-1)`` leaves a
    waiter behind in Trio 0.35, at which the next one fails.

    Raises:
      trio.ClosedResourceError: the socket was closed.
      TypeError: it has none, as a socket that a program made up may not.
    """
    try:
        fd = socket.fileno()
    except NotImplementedError:
        # trio.SocketStream needs none, and our constructor takes what it does.
        raise TypeError(
            "a batch needs a socket with a file descriptor, which "
            f"{type(socket).__name__} does not have"
        ) from None
    if fd == -1:
        raise closed_socket()
    return fd


def raise_stream_error(error: OSError) -> NoReturn:
    """Raise what a stream raises for a failed system call.

    Raises:
      trio.ClosedResourceError: the descriptor was closed on this side.
      trio.BrokenResourceError: anything else, with ``error`` as its cause.
    """
    if error.errno in _CLOSED:
        raise closed_socket() from None
    raise trio.BrokenResourceError(
        f"socket connection broken: {error}"
    ) from error
