"""The datagram socket: its two halves, and its life."""

from __future__ import annotations

import contextlib

import trio

from triobatch._core import calls
from triobatch._core.arena import Arena
from triobatch._core.probes import gso_segments
from triobatch._datagrams.abstract_socket import AbstractDatagramSocket
from triobatch._datagrams.message_inbox import MessageInbox
from triobatch._datagrams.readiness import Readiness
from triobatch._datagrams.receiving import Filling, ReceiveHalf
from triobatch._datagrams.sending import SendHalf
from triobatch._datagrams.statistics import kernel_drops
from triobatch._wire.addresses import AF_INET, AF_INET6, AF_UNIX
from triobatch._wire.control import IPPROTO_UDP, SOL_UDP, UDP_GRO


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
    ``max_datagrams`` is kept there for the next.

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
            # A kernel before 5.0 does not know it, and hands over one by one.
            with contextlib.suppress(OSError):
                socket.setsockopt(SOL_UDP, UDP_GRO, 1)
        # What the kernel said last: a closed socket says nothing.
        self._drops: int | None = None
        self._readiness = Readiness(socket, keep_errors=error_queue)
        inbox = MessageInbox(Arena(calls.MAX_MESSAGES, family))
        super().__init__(
            SendHalf(socket, self._readiness, segments, calls),
            ReceiveHalf(
                socket, self._readiness, Filling(inbox, family, calls)
            ),
        )

    async def aclose(self) -> None:
        """Close the socket; whoever waits gets ``ClosedResourceError``.

        The socket is closed also if this is cancelled, and it may be closed
        more than once.
        """
        self._kernel_drops()
        self._readiness.close()
        await trio.lowlevel.checkpoint()

    def _kernel_drops(self) -> int | None:
        drops = kernel_drops(self.socket.getsockopt)
        if drops is not None:
            self._drops = drops
        return self._drops
