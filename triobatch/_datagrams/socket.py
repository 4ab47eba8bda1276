"""The datagram socket: its two halves, and its life."""

from __future__ import annotations

import contextlib
import errno
import sys
from typing import cast, overload

import trio

from triobatch._core import calls
from triobatch._core.probes import gso_segments
from triobatch._core.receive_memory import spares
from triobatch._datagrams.abstract_socket import AbstractDatagramSocket
from triobatch._datagrams.message_inbox import MessageInbox
from triobatch._datagrams.multicast import membership
from triobatch._datagrams.readiness import Readiness
from triobatch._datagrams.receiving import Filling, ReceiveHalf
from triobatch._datagrams.sending import SendHalf
from triobatch._datagrams.statistics import kernel_drops
from triobatch._resource import open_fd
from triobatch._wire.addresses import (
    AF_INET,
    AF_INET6,
    AF_UNIX,
    Address,
    own_address,
)
from triobatch._wire.control import IPPROTO_UDP, SOL_UDP, UDP_GRO
from triobatch._wire.described import socket_repr
from triobatch._wire.hints import Buffer


class DatagramSocket(AbstractDatagramSocket):
    """A datagram socket that sends and receives in batches.

    One task may send and another receive at a time; a second one gets
    ``BusyResourceError``. Each async method is a checkpoint, and has a twin
    that ends in ``_nowait`` and raises ``WouldBlock`` instead of waiting.

    On Linux batches go by sendmmsg(2) and recvmmsg(2), and over UDP equal
    payloads to one address go as one message that the kernel cuts up
    (UDP_SEGMENT), and come as one that it has put together (UDP_GRO). The
    socket is set up for that, so receive with this object only.

    **Receive memory** is 64 slots of 64 KiB of address space, of which the
    kernel backs what was ever filled. What a call finds beyond
    ``max_datagrams`` is kept there for the next. A socket has it only while it
    keeps such datagrams, or lends runs; then others receive into it.

    **Errors that the network reports** (a closed port, an unreachable host)
    are about datagrams that were sent earlier, and are not raised here:
    ``statistics`` counts them, and ``receive_errors`` tells them apart.

    Args:
      socket: A ``SOCK_DGRAM`` socket of the family AF_INET, AF_INET6 or
        AF_UNIX. It belongs to this object from now on.
      error_queue: Keep what the network reports for ``receive_errors``
        (IP_RECVERR; Linux).

    Raises:
      TypeError: ``socket`` is no Trio socket.
      ValueError: it is of another type or family.
      OSError: ``error_queue``, and this socket has none.

    Attributes:
      socket: The Trio socket.
    """

    def __init__(
        self, socket: trio.socket.SocketType, *, error_queue: bool = False
    ) -> None:
        if not isinstance(socket, trio.socket.SocketType):
            raise TypeError(f"socket must be a Trio socket, not {socket!r}")
        if socket.type != trio.socket.SOCK_DGRAM:
            raise ValueError(f"socket must be a SOCK_DGRAM, not {socket!r}")
        family = int(socket.family)
        if family not in {AF_INET, AF_INET6, AF_UNIX}:
            raise ValueError(
                f"family must be AF_INET, AF_INET6 or AF_UNIX, not {family}"
            )
        self.socket = socket
        segments = 1
        if family != AF_UNIX and socket.proto in {0, IPPROTO_UDP}:
            segments = gso_segments()
            if sys.platform == "linux":
                # A kernel before 5.0 does not know it, and hands over one by
                # one; elsewhere the number is another option's.
                with contextlib.suppress(OSError):
                    socket.setsockopt(SOL_UDP, UDP_GRO, 1)
        # What the kernel said last: a closed socket says nothing.
        self._drops: int | None = None
        # Before it was handed out: see ``open_udp_socket``.
        self._drops_before = 0
        self._readiness = Readiness(socket, keep_errors=error_queue)
        inbox = MessageInbox(spares(calls.MAX_MESSAGES, family))
        super().__init__(
            SendHalf(socket, self._readiness, segments, calls),
            ReceiveHalf(
                socket, self._readiness, Filling(inbox, family, calls)
            ),
        )

    __repr__ = socket_repr

    @property
    def local_address(self) -> Address:
        """Where it is bound; see ``AbstractDatagramSocket``."""
        open_fd(self.socket)
        return cast("Address", own_address(self.socket) or None)

    @property
    def remote_address(self) -> Address:
        """The connected peer, or None; see ``AbstractDatagramSocket``."""
        open_fd(self.socket)
        try:
            return cast("Address", self.socket.getpeername() or None)
        except OSError as error:
            if error.errno not in {errno.ENOTCONN, errno.EINVAL}:
                raise
            return None

    @overload
    def setsockopt(
        self, level: int, option: int, value: int | Buffer
    ) -> None: ...

    @overload
    def setsockopt(
        self, level: int, option: int, value: None, length: int
    ) -> None: ...

    def setsockopt(
        self,
        level: int,
        option: int,
        value: int | Buffer | None,
        length: int | None = None,
    ) -> None:
        """Set a socket option; see ``socket.socket.setsockopt``."""
        if length is None:
            if value is None:
                raise TypeError("value must not be None without a length")
            self.socket.setsockopt(level, option, value)
        elif value is not None:
            raise TypeError(
                f"value must be None when length is given, not {value!r}"
            )
        else:
            self.socket.setsockopt(level, option, value, length)

    @overload
    def getsockopt(self, level: int, option: int) -> int: ...

    @overload
    def getsockopt(
        self, level: int, option: int, buffersize: int
    ) -> bytes: ...

    def getsockopt(
        self, level: int, option: int, buffersize: int = 0
    ) -> int | bytes:
        """Return a socket option; see ``socket.socket.getsockopt``."""
        if buffersize:
            return self.socket.getsockopt(level, option, buffersize)
        return self.socket.getsockopt(level, option)

    def join_group(
        self, group: str, *, interface: str | int | None = None
    ) -> None:
        """Receive what is sent to a multicast group, on one interface.

        Args:
          group: Its numeric address, of IPv4 or IPv6, without a scope.
          interface: Its name or index; the one of the route to the group by
            default. A group can be joined on each interface on its own.

        Raises:
          ValueError: ``group`` is no address of a multicast group, or
            ``interface`` negative.
          TypeError: they are no string, and no name or index.
          OSError: there is no such interface (ENODEV), the group was joined
            there already (EADDRINUSE), or the socket is of another family.
          trio.ClosedResourceError: the socket is closed.

        The socket is to be bound to the group's port, and on Linux hears
        every group that any socket of the host has joined and that comes to
        the address it is bound to (IP_MULTICAST_ALL). See ip(7),
        IP_ADD_MEMBERSHIP, and ipv6(7), IPV6_ADD_MEMBERSHIP.
        """
        self._set_membership(group, interface, joining=True)

    def leave_group(
        self, group: str, *, interface: str | int | None = None
    ) -> None:
        """Receive no longer what is sent to a group; see ``join_group``.

        Raises:
          OSError: the group was not joined there (EADDRNOTAVAIL).
        """
        self._set_membership(group, interface, joining=False)

    def _set_membership(
        self, group: str, interface: str | int | None, *, joining: bool
    ) -> None:
        option = membership(group, interface, joining=joining)
        open_fd(self.socket)
        self.socket.setsockopt(*option)

    async def aclose(self) -> None:
        """Close the socket; whoever waits gets ``ClosedResourceError``.

        The socket is closed also if this is cancelled, and it may be closed
        more than once.
        """
        self._kernel_drops()
        self._readiness.close()
        self._receive.inbox.close()
        await trio.lowlevel.checkpoint()

    def _kernel_drops(self) -> int | None:
        drops = kernel_drops(self.socket.getsockopt)
        if drops is not None:
            self._drops = drops - self._drops_before
        return self._drops
