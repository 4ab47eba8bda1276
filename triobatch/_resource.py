"""Busy, closed, broken: what Trio's resources say of themselves.

A direction of a socket has a ``Guard``, and lets in one task at a time. A
queue that is being sent has a ``Claim`` on it, and nobody else may consume it.
And the errno of a stream, a pipe or a closed socket becomes one of Trio's
exceptions.
"""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING, ClassVar, NoReturn, Protocol

import trio
from trio.lowlevel import enable_ki_protection

if TYPE_CHECKING:
    from _typeshed import HasFileno

# What a closed descriptor answers: EBADF, and ENOTSOCK on Windows or where
# something else has taken its number.
_CLOSED = frozenset((errno.EBADF, errno.ENOTSOCK))


class Guard:
    """Let one task at a time through; a second gets ``BusyResourceError``.

    Trio's ``ConflictDetector`` does the same, but is private to Trio.
    """

    __slots__ = ("_busy", "_message")

    def __init__(self, message: str) -> None:
        self._busy = False
        self._message = message

    # Ctrl-C between taking it and letting go would leave it taken for ever.
    @enable_ki_protection
    def __enter__(self) -> None:
        if self._busy:
            raise trio.BusyResourceError(self._message)
        self._busy = True

    @enable_ki_protection
    def __exit__(self, *exc_info: object) -> None:
        self._busy = False

    def check(self) -> None:
        """Raise ``BusyResourceError`` if a task is inside."""
        if self._busy:
            raise trio.BusyResourceError(self._message)

    def take(self, queue: Claimable) -> None:
        """Go inside, and claim a queue: a third of two ``with`` blocks.

        Call it with Ctrl-C held off until ``let_go``.

        Raises:
          trio.BusyResourceError: a task is inside, or sending the queue.
        """
        if self._busy or queue._claimed:
            self.check()
            Claim.check(queue)
        self._busy = queue._claimed = True

    def let_go(self, queue: Claimable) -> None:
        """Come out, and give up the claim."""
        self._busy = queue._claimed = False


class Claimable(Protocol):
    """A queue that is consumed as it is sent.

    Attributes:
      KIND: What it is a queue of, for the error.
    """

    KIND: ClassVar[str]
    _claimed: bool


class Claim:
    """Keep everybody else from consuming a queue, for a ``with`` block.

    Raises:
      trio.BusyResourceError: somebody is sending it already.
    """

    __slots__ = ("_queue",)

    def __init__(self, queue: Claimable) -> None:
        self._queue = queue

    # Ctrl-C between taking it and letting go would leave it taken for ever.
    @enable_ki_protection
    def __enter__(self) -> None:
        self.check(self._queue)
        self._queue._claimed = True

    @enable_ki_protection
    def __exit__(self, *exc_info: object) -> None:
        self._queue._claimed = False

    @staticmethod
    def check(queue: Claimable) -> None:
        """Raise ``BusyResourceError`` if somebody is sending the queue."""
        if queue._claimed:
            raise trio.BusyResourceError(
                f"another task is currently sending these {queue.KIND}"
            )


def closed_socket() -> trio.ClosedResourceError:
    """Return the error for a socket that this process has closed."""
    return trio.ClosedResourceError("this socket was already closed")


def open_fd(socket: HasFileno) -> int:
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


def raise_if_closed(error: OSError) -> None:
    """Raise ``ClosedResourceError`` if a call failed because of that."""
    if error.errno in _CLOSED:
        raise closed_socket() from None


def raise_stream_error(error: OSError) -> NoReturn:
    """Raise what a stream raises for a failed system call.

    Raises:
      trio.ClosedResourceError: the descriptor was closed on this side.
      trio.BrokenResourceError: anything else, with ``error`` as its cause.
    """
    raise_if_closed(error)
    raise trio.BrokenResourceError(
        f"socket connection broken: {error}"
    ) from error


def raise_pipe_error(error: OSError) -> NoReturn:
    """Raise what a pipe raises; as ``raise_stream_error``."""
    if error.errno in _CLOSED:
        raise trio.ClosedResourceError("file was already closed") from None
    raise trio.BrokenResourceError(f"pipe broken: {error}") from error
