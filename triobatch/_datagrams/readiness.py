"""Waiting for a datagram socket, without spinning where epoll(7) would.

Four conditions make a socket look ready for ever, so that a loop around
``wait_readable`` or ``wait_writable`` takes a whole CPU:

* Entries of the error queue hold EPOLLERR, which wakes every waiter. They
  are read on each wake if somebody wants them, and otherwise on the second
  wake in a row that brought nothing.
* So does a pending error that no call has taken; SO_ERROR takes it.
* An *unconnected* Unix socket is writable whatever the destination's queue
  holds; see ``unix_peer``.
* A socket that was shut down for receiving is readable, and brings nothing.

And a task that waits for errors must not be woken by data that nobody reads;
nor may it wait for the socket to be readable, which Trio allows to one task,
the one that receives. An epoll set of its own, which asks for nothing but the
errors that are always reported, is readable exactly when there is an error.
"""

from __future__ import annotations

import collections
import contextlib
import errno
import select
import socket
import sys
from typing import TYPE_CHECKING

import trio

from triobatch._core import calls
from triobatch._datagrams.errnos import FIRST_PAUSE
from triobatch._datagrams.unix_peer import (
    has_room,
    wait_for_own_room,
    wait_for_room,
)
from triobatch._resource import open_fd
from triobatch._wire.addresses import AF_INET, AF_INET6, AF_UNIX
from triobatch._wire.control import SOL_IP, SOL_IPV6
from triobatch._wire.error_queue import (
    IP_RECVERR,
    IPV6_RECVERR,
    PAYLOAD_SIZE,
    PeerError,
    decode_error,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

# Reports that nobody has fetched. The oldest give way.
MAX_ERRORS = 1024
_NONE: collections.deque[PeerError] = collections.deque(maxlen=0)
# What poll(2) says after shutdown(2), of the receiving half or of both.
_HANG_UP = 0
if sys.platform == "linux":
    # PyPy has no name for the first; asm-generic/poll.h has the number.
    _HANG_UP = getattr(select, "POLLRDHUP", 0x2000) | select.POLLHUP


class Readiness:
    """What one socket is waited for.

    Args:
      sock: A datagram socket.
      keep_errors: Whether the reports of the error queue are wanted.
    """

    __slots__ = (
        "_elsewhere",
        "_errors_only",
        "_internet",
        "_local_refusals",
        "_socket",
        "errors",
        "keep_errors",
    )

    def __init__(
        self, sock: trio.socket.SocketType, *, keep_errors: bool
    ) -> None:
        # An empty deque takes 760 bytes, and many sockets keep none.
        self.errors: collections.deque[PeerError] = (
            collections.deque(maxlen=MAX_ERRORS) if keep_errors else _NONE
        )
        self._socket = sock
        self.keep_errors = keep_errors
        self._local_refusals = 0
        self._internet = sock.family in {AF_INET, AF_INET6}
        self._errors_only: select.epoll | None = None
        # Of those who wait for something other than the socket itself.
        self._elsewhere: dict[trio.CancelScope, None] = {}
        if keep_errors:
            self._ask_for_errors()

    def _ask_for_errors(self) -> None:
        if sys.platform != "linux" or not self._internet:
            raise OSError(errno.ENOPROTOOPT, "this socket has no error queue")
        self._socket.setsockopt(SOL_IP, IP_RECVERR, 1)
        if self._socket.family == AF_INET6:
            self._socket.setsockopt(SOL_IPV6, IPV6_RECVERR, 1)

    async def readable(self, *, again: bool) -> None:
        """Wait until receiving may bring something.

        Args:
          again: Whether the last wake has brought nothing.

        Raises:
          ClosedResourceError: the socket is closed, or was shut down.
        """
        if again:
            self._check_not_shut_down(_HANG_UP)
        await trio.lowlevel.wait_readable(open_fd(self._socket))
        self._after_wake(again=again)

    async def writable(self, peer: bytes, *, again: bool) -> None:
        """Wait until a datagram to ``peer`` may be taken."""
        if self.is_held_up_by(peer):
            await self.room_at(peer)
        elif peer and self._socket.family == AF_UNIX:
            await wait_for_own_room(open_fd(self._socket))
        else:
            await trio.lowlevel.wait_writable(open_fd(self._socket))
        self._after_wake(again=again)

    def is_held_up_by(self, peer: bytes) -> bool:
        """Whether ``peer`` alone, of all destinations, has no room.

        Ask when a send has just brought EAGAIN, which does not say what it
        is that has no room.
        """
        open_fd(self._socket)
        return (
            bool(peer)
            and self._socket.family == AF_UNIX
            and has_room(self._socket)
        )

    async def flooded(self) -> None:
        """Let a flood of reports pass by for a moment.

        Not readiness: with a report pending the socket looks ready for all.
        """
        await trio.sleep(FIRST_PAUSE)
        self._after_wake(again=True)

    def was_refused_here(self) -> bool:
        """Whether this host has just refused a datagram as too large.

        It then has an entry of its own in the error queue; a report by
        another host has not (ip(7), IP_RECVERR).
        """
        before = self._local_refusals
        self.drain()
        return self._local_refusals > before

    async def room_at(self, peer: bytes) -> None:
        """Wait until ``peer`` may have room, or the socket is closed."""
        with self._waiting_elsewhere():
            await wait_for_room(peer)

    def _after_wake(self, *, again: bool) -> None:
        # Another task may have closed the socket and the wake still be a
        # plain one (python-trio/trio#3520).
        open_fd(self._socket)
        if self.keep_errors or again:
            self.drain()
        if again and self._internet:
            self._take_pending_error()

    def _check_not_shut_down(self, events: int) -> None:
        # shutdown(2) leaves readiness on for ever. Only asked after a wake
        # that brought nothing, so that what is queued is received first.
        if sys.platform != "linux":
            return
        poll = select.poll()
        poll.register(open_fd(self._socket), events)
        if any(found & events for _, found in poll.poll(0)):
            raise trio.ClosedResourceError("this socket was shut down")

    async def error(self, *, again: bool) -> None:
        """Wait until there may be an entry in the error queue."""
        if again and sys.platform == "linux":
            self._check_not_shut_down(select.POLLHUP)
        if self._errors_only is None:
            self._errors_only = select.epoll()
            # EPOLLERR needs not be asked for (epoll_ctl(2)).
            self._errors_only.register(open_fd(self._socket), 0)
        with self._waiting_elsewhere():
            await trio.lowlevel.wait_readable(self._errors_only.fileno())
        open_fd(self._socket)
        if again:
            self._take_pending_error()

    @trio.lowlevel.enable_ki_protection
    def drain(self) -> None:
        """Empty the error queue, into ``errors`` if they are wanted."""
        if not self._internet or sys.platform != "linux":
            return
        before = len(self.errors)
        # As many as are kept, so that a flood does not hold the task.
        for _ in range(MAX_ERRORS):
            entry = calls.receive_error(open_fd(self._socket), PAYLOAD_SIZE)
            if entry is None:
                break
            error = decode_error(*entry)
            if error is not None and self.keep_errors:
                self._local_refusals += error.is_local_refusal
                self.errors.append(error)
        if len(self.errors) > before:
            for scope in tuple(self._elsewhere):
                scope.cancel()

    def _take_pending_error(self) -> None:
        self._socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)

    @contextlib.contextmanager
    def _waiting_elsewhere(self) -> Iterator[None]:
        with trio.CancelScope() as scope:
            self._elsewhere[scope] = None
            try:
                yield
            finally:
                del self._elsewhere[scope]

    def close(self) -> None:
        """Close the socket, and wake whoever waits for it."""
        self._socket.close()
        # There are fewer as they are woken.
        for scope in tuple(self._elsewhere):
            scope.cancel()
        if self._errors_only is not None:
            self._errors_only.close()
            self._errors_only = None
