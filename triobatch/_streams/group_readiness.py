"""Which of many sockets are ready: an epoll set, or a task for each socket.

The traps of epoll(7), and how they are met
-------------------------------------------
A set is level-triggered, and is asked for no more sockets than there is room
for: the kernel puts those that it has named behind the others, so that none
starves. It is watched by poll(2), which moves none.

EPOLLERR and EPOLLHUP cannot be masked. A socket that nothing is wanted from is
taken out of the set.

A set knows open files, not descriptors: where another descriptor, of a fork or
of dup(2), holds the file of a socket that was closed, the set goes on naming
its number, which may be another socket's by then. So sockets are taken out
before they are closed, whoever uses a number asks the socket for it first
(``Members``), and a set that names a stranger is built anew.
"""

from __future__ import annotations

import select
from contextlib import suppress
from typing import TYPE_CHECKING, Protocol

import trio

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable

# select has no epoll but on Linux, and mypy no names for it there.
_EPOLL = hasattr(select, "epoll")

# What is asked for at a time: the memory for so many events is taken at once,
# and epoll_wait(2) refuses what would be more than 2 GiB of them.
_MOST_EVENTS = 2**16


class ReadySet(Protocol):
    """Descriptors that are watched for one direction."""

    def add(self, fd: int) -> None:
        """Watch a descriptor."""

    def discard(self, fd: int) -> None:
        """Watch it no longer, whether it is open or not."""

    def take(self, count: int) -> list[int]:
        """Return at most ``count`` that are ready, longest unnamed first."""

    def has_ready(self) -> bool:
        """Tell whether there may be one."""

    async def wait(self) -> None:
        """Wait until there may be one: a checkpoint.

        Raises:
          trio.ClosedResourceError: the set was closed.
        """

    def rebuild(self, fds: Iterable[int]) -> None:
        """Forget everything, and watch these."""

    def close(self) -> None:
        """Let go of what it takes; whoever waits gets an error."""


class EpollSet:
    """A set that is an epoll instance of its own, which Trio waits on.

    Args:
      events: EPOLLIN or EPOLLOUT.
    """

    def __init__(self, events: int) -> None:
        self._events = events
        self._closed = False
        self._open()

    def _open(self) -> None:
        self._epoll = select.epoll()
        self._fd = self._epoll.fileno()
        self._poll = select.poll()
        self._poll.register(self._epoll, select.POLLIN)

    def add(self, fd: int) -> None:
        """Watch a descriptor."""
        self._epoll.register(fd, self._events)

    def discard(self, fd: int) -> None:
        """Watch it no longer."""
        with suppress(OSError):
            self._epoll.unregister(fd)

    def take(self, count: int) -> list[int]:
        """Return at most ``count`` that are ready."""
        most = min(count, _MOST_EVENTS)
        return [fd for fd, _ in self._epoll.poll(0, most)]

    def has_ready(self) -> bool:
        """Tell whether there is one, without moving it."""
        return bool(self._poll.poll(0))

    async def wait(self) -> None:
        """Wait until there may be one."""
        try:
            await trio.lowlevel.wait_readable(self._fd)
        except trio.ClosedResourceError:
            if self._closed:
                raise
            # It was built anew meanwhile.

    def rebuild(self, fds: Iterable[int]) -> None:
        """Forget everything, and watch these."""
        self._end()
        self._open()
        for fd in fds:
            self.add(fd)

    def close(self) -> None:
        """Close the epoll instance."""
        self._closed = True
        self._end()

    def _end(self) -> None:
        trio.lowlevel.notify_closing(self._fd)
        self._epoll.close()


class TaskSet:
    """A set that has a task wait for each descriptor.

    Args:
      nursery: Where the tasks are.
      wait_for: ``trio.lowlevel.wait_readable`` or ``wait_writable``.
    """

    def __init__(
        self,
        nursery: trio.Nursery,
        wait_for: Callable[[int], Awaitable[None]],
    ) -> None:
        self._nursery = nursery
        self._wait_for = wait_for
        self._scopes: dict[int, trio.CancelScope] = {}
        # Ready, and not yet taken, in the order in which they became so.
        self._ready: dict[int, trio.Event] = {}
        self._news = trio.Event()
        self._closed = False

    def add(self, fd: int) -> None:
        """Watch a descriptor."""
        # Its end is the group's to decide, as is that of the members.
        scope = self._scopes[fd] = trio.CancelScope(shield=True)
        self._nursery.start_soon(self._watch, fd, scope)

    async def _watch(self, fd: int, scope: trio.CancelScope) -> None:
        with scope:
            # It may be cancelled before it has begun, and when it was woken
            # already: another task waits for this number then.
            while self._scopes.get(fd) is scope:
                # One that was closed is ready to be found out.
                with suppress(OSError, trio.ClosedResourceError):
                    await self._wait_for(fd)
                if self._scopes.get(fd) is not scope:
                    return
                taken = self._ready[fd] = trio.Event()
                self._news.set()
                await taken.wait()

    def discard(self, fd: int) -> None:
        """Watch it no longer."""
        scope = self._scopes.pop(fd, None)
        if scope is not None:
            scope.cancel()
        self._ready.pop(fd, None)

    def take(self, count: int) -> list[int]:
        """Return at most ``count`` that are ready."""
        fds = list(self._ready)[:count]
        for fd in fds:
            self._ready.pop(fd).set()
        return fds

    def has_ready(self) -> bool:
        """Tell whether there may be one."""
        return bool(self._ready)

    async def wait(self) -> None:
        """Wait until there may be one."""
        if not self._ready and not self._closed:
            self._news = trio.Event()
            await self._news.wait()
        else:
            await trio.lowlevel.checkpoint()
        if self._closed:
            raise trio.ClosedResourceError

    def rebuild(self, fds: Iterable[int]) -> None:
        """Forget everything, and watch these."""
        for fd in list(self._scopes):
            self.discard(fd)
        for fd in fds:
            self.add(fd)

    def close(self) -> None:
        """End the tasks."""
        self._closed = True
        self.rebuild(())
        self._news.set()


def ready_sets(nursery: trio.Nursery) -> tuple[ReadySet, ReadySet]:
    """Return a set for reading and one for writing."""
    if _EPOLL:
        return EpollSet(select.EPOLLIN), EpollSet(select.EPOLLOUT)
    return (
        TaskSet(nursery, trio.lowlevel.wait_readable),
        TaskSet(nursery, trio.lowlevel.wait_writable),
    )
