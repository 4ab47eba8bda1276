"""Busy, closed, broken: what Trio's resources say of themselves.

A direction of a socket has a ``Guard``, and lets in one task at a time. A
queue that is being sent has a ``Claim`` on it, and nobody else may consume it.
The errno of a stream, a pipe or a closed socket becomes one of Trio's
exceptions, which if it is kept holds no frames. And who waits for a descriptor
that is ready, and takes nothing all the same, does not spin. What has to be
left by ``async with`` is, whenever Ctrl-C comes, and ``with`` says so.
"""

from __future__ import annotations

import errno
import sys
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import wraps
from typing import (
    TYPE_CHECKING,
    Any,
    ClassVar,
    Generic,
    NoReturn,
    ParamSpec,
    Protocol,
    TypeVar,
)

import trio
from trio.lowlevel import current_task, enable_ki_protection

if sys.version_info < (3, 11):
    from exceptiongroup import BaseExceptionGroup

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from types import TracebackType

    from _typeshed import HasFileno
    from trio.lowlevel import Task

_Error = TypeVar("_Error", bound=BaseException)
_T = TypeVar("_T")
_P = ParamSpec("_P")

# What a closed descriptor answers: EBADF, and ENOTSOCK on Windows or where
# something else has taken its number.
_CLOSED = frozenset((errno.EBADF, errno.ENOTSOCK))

# Wakes in a row that may bring nothing before one waits longer: somebody else
# was quicker, or the kernel's measure of readiness is another than of sending.
_IDLE_WAKES = 4
# The pause after the next, in seconds; each is twice the last, up to the
# longest, with which a loop that does not end takes about 1 % of a CPU.
_FIRST_PAUSE = 0.001
_LONGEST_PAUSE = 0.016


class Guard:
    """Let one task at a time through; a second gets ``BusyResourceError``.

    Trio's ``ConflictDetector`` does the same, but is private to Trio, and does
    not say which task is inside.

    Args:
      message: What that task is doing.

    Attributes:
      busy: Whether a task is inside. Where a ``with`` block costs too much, it
        is set and reset with Ctrl-C held off.
      task: Which one, if that is known.
    """

    __slots__ = ("_message", "busy", "task")

    def __init__(self, message: str) -> None:
        self.busy: bool = False
        self._message = message
        self.task: Task | None = None

    # Ctrl-C between taking it and letting go would leave it taken for ever.
    @enable_ki_protection
    def __enter__(self) -> None:
        if self.busy:
            self.check()
        self.busy = True
        self.task = _task_now()

    @enable_ki_protection
    def __exit__(self, *exc_info: object) -> None:
        self.busy = False
        self.task = None

    def check(self) -> None:
        """Raise ``BusyResourceError`` if a task is inside."""
        if self.busy:
            name = "" if self.task is None else f" ({self.task.name})"
            raise trio.BusyResourceError(f"{self._message}{name}")

    def take(self, queue: Claimable) -> None:
        """Go inside, and claim a queue: a third of two ``with`` blocks.

        Call it with Ctrl-C held off until ``let_go``.

        Raises:
          trio.BusyResourceError: a task is inside, or sending the queue.
        """
        if self.busy or queue._claimed:
            self.check()
            Claim.check(queue)
        self.busy = queue._claimed = True

    def let_go(self, queue: Claimable) -> None:
        """Come out, and give up the claim."""
        self.busy = queue._claimed = False


def _task_now() -> Task | None:
    try:
        return current_task()
    except RuntimeError:
        # In the scheduler, as in an abort function; or without any.
        return None


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
    def take(*queues: Claimable) -> None:
        """Claim several queues, or none: 10 us less than ``with`` blocks.

        Call it with Ctrl-C held off until ``let_go``.

        Raises:
          trio.BusyResourceError: somebody is sending one of them already.
        """
        for queue in queues:
            Claim.check(queue)
        for queue in queues:
            queue._claimed = True

    @staticmethod
    def let_go(*queues: Claimable) -> None:
        """Give up the claims."""
        for queue in queues:
            queue._claimed = False

    @staticmethod
    def check(queue: Claimable) -> None:
        """Raise ``BusyResourceError`` if somebody is sending the queue."""
        if queue._claimed:
            raise trio.BusyResourceError(
                f"another task is currently sending these {queue.KIND}"
            )


async def pause_after(idle_wakes: int) -> None:
    """Wait a while, if so many wakes in a row have brought nothing.

    What a descriptor is ready for, it may refuse for ever: under a filter
    driver, a tracer, a fault of the kernel. A loop that only waits for
    readiness then takes a whole CPU.
    """
    if idle_wakes > _IDLE_WAKES:
        doublings = min(idle_wakes - _IDLE_WAKES - 1, 4)
        await trio.sleep(min(_FIRST_PAUSE * 2**doublings, _LONGEST_PAUSE))


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


def without_frames(error: _Error) -> _Error:
    """Return an error that is to be kept, without what its frames hold.

    A traceback has the frames, and these the payloads that were being sent. So
    it goes, of the error and of its causes. What was being handled meanwhile
    (``__context__``) may be the caller's own, and is let go of as it is.
    """
    seen: set[int] = set()
    left: list[BaseException] = [error]
    while left:
        one = left.pop()
        if id(one) in seen:
            continue
        seen.add(id(one))
        one.__traceback__ = one.__context__ = None
        if one.__cause__ is not None:
            left.append(one.__cause__)
        if isinstance(one, BaseExceptionGroup):
            left += one.exceptions
    return error


def reason_of(error: BaseException) -> str:
    """Return what an error says, or else what its cause does.

    ``trio.SSLStream`` raises without a word, from an error that has some.
    """
    one: BaseException | None = error
    while one is not None:
        if text := str(one):
            return text
        one = one.__cause__
    return type(error).__name__


def _refuse(*_: object) -> NoReturn:
    # Before 3.14, Python says only that there is no context manager.
    raise TypeError("use 'async with', not 'with'")


def only_async(cls: type[_T]) -> type[_T]:
    """Let ``with`` and an object of a class tell of ``async with``.

    Type checkers do not see it, and say it themselves.
    """
    told: Any = cls
    told.__enter__ = _refuse
    # Without it, ``with`` would not even enter.
    told.__exit__ = _refuse
    return cls


def async_scope(
    scope: Callable[_P, AsyncIterator[_T]],
) -> Callable[_P, AbstractAsyncContextManager[_T]]:
    """Make what is entered by ``async with``, and by nothing else."""
    make = asynccontextmanager(scope)

    @wraps(scope)
    def enter(
        *args: _P.args, **kwargs: _P.kwargs
    ) -> AbstractAsyncContextManager[_T]:
        return _Scope(make(*args, **kwargs))

    # For sphinxcontrib-trio, as it is for asynccontextmanager.
    enter.__returns_acontextmanager__ = True  # type: ignore[attr-defined]
    return enter


@only_async
class _Scope(AbstractAsyncContextManager[_T], Generic[_T]):
    def __init__(self, made: AbstractAsyncContextManager[_T]) -> None:
        self._made = made

    # Ctrl-C in a frame above the scope's own, here or in contextlib, would
    # keep it from being left, with its nursery open. Held off, it comes at
    # the scope's checkpoints, as in ``trio.open_nursery``.

    @enable_ki_protection
    async def __aenter__(self) -> _T:
        return await self._made.__aenter__()

    @enable_ki_protection
    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> bool | None:
        return await self._made.__aexit__(kind, error, traceback)
