"""A pair of datagram sockets that exist in memory only."""

from __future__ import annotations

import trio

from triobatch._core import calls
from triobatch._core.arena import CONTROL_SIZE
from triobatch._core.receive_memory import spares
from triobatch._datagrams.abstract_socket import AbstractDatagramSocket
from triobatch._datagrams.message_inbox import MessageInbox
from triobatch._datagrams.receiving import Filling, ReceiveHalf
from triobatch._datagrams.sending import SendHalf
from triobatch._resource import open_fd
from triobatch._wire.arguments import at_least, check_callable
from triobatch._wire.described import described
from triobatch.testing._memory_kernel import (
    Link,
    MemoryKernel,
    MemoryReadiness,
)

_ADDRESSES = ("left", "right")


def memory_datagram_pair(
    *, max_queued: int | None = None, link: Link | None = None
) -> tuple[MemoryDatagramSocket, MemoryDatagramSocket]:
    """Return two connected datagram sockets that exist in memory only.

    They do what two ``DatagramSocket`` objects on a connected pair of Unix
    sockets do, by the same code, but for the kernel: this one is a queue for
    each end. They never lose or change a datagram of their own accord, and
    wait for nothing but one another, so that a test of a protocol is
    deterministic, and can have a ``trio.testing.MockClock``.

    Args:
      max_queued: How many datagrams an end holds until they are received, at
        least 1; sending waits for room. No limit by default.
      link: Called with each payload that is sent; what it returns is what
        arrives: nothing for a lost datagram, two for a doubled one. An
        OSError that it raises refuses the datagram. ::

            lose_every_other = itertools.cycle([True, False]).__next__
            pair = memory_datagram_pair(
                link=lambda data: [] if lose_every_other() else [data]
            )

    Raises:
      TypeError: ``max_queued`` is no integer.
      ValueError: it is not positive.

    What the kernel decides, it decides so:

    * The ends are called ``"left"`` and ``"right"``. ``None`` is the other
      end; every other address is refused, with ENOENT, and an end's own with
      EPERM.
    * A datagram of more than 65507 bytes, the most that UDP over IPv4 takes,
      is refused with EMSGSIZE. One that a link has made larger than 64 KiB
      is truncated.
    * Once the other end is closed, datagrams are refused: the first with
      ECONNREFUSED, those behind it, if they have no address, with ENOTCONN.
    * ``tos`` and ``ttl`` of the metadata arrive in ``Message.metadata``, also
      of datagrams that were sent before the first ``receive_messages``, and
      are ``None`` where they were not given. A source address and an
      interface are checked, and do not matter. There is no timestamp.
    * Nothing is reported by a network: ``receive_errors`` says that the
      socket was made without ``error_queue``.
    * A call does not receive more than it was asked for, and what it counts
      as a system call in ``statistics`` is a call on that queue, or with a
      link one datagram.
    """
    if max_queued is not None:
        max_queued = at_least(1, max_queued, "max_queued")
    if link is not None:
        check_callable(link, "link", "a function")
    kernel = MemoryKernel(_ADDRESSES, max_queued, link)
    return MemoryDatagramSocket(kernel, 0), MemoryDatagramSocket(kernel, 1)


class MemoryDatagramSocket(AbstractDatagramSocket):
    """One end of a pair; see ``memory_datagram_pair``.

    Attributes:
      address: What the other end receives from.
    """

    def __init__(self, kernel: MemoryKernel, fd: int) -> None:
        self.address = _ADDRESSES[fd]
        self._peer_address = _ADDRESSES[1 - fd]
        socket = self._socket = kernel.sockets[fd]
        self._readiness = MemoryReadiness(kernel, fd)
        inbox = MessageInbox(
            spares(calls.MAX_MESSAGES, socket.family, CONTROL_SIZE)
        )
        # None is fetched ahead, or an end would hold more than `max_queued`.
        filling = Filling(inbox, socket.family, kernel, ahead=1)
        super().__init__(
            SendHalf(socket, self._readiness, 1, kernel),
            ReceiveHalf(socket, self._readiness, filling),
        )

    @described
    def __repr__(self) -> str:
        if self._socket.fileno() == -1:
            return "closed"
        return f"{self.address} -> {self._peer_address}"

    @property
    def local_address(self) -> str:
        """The name of this end: ``address``."""
        open_fd(self._socket)
        return self.address

    @property
    def remote_address(self) -> str:
        """The name of the other end."""
        open_fd(self._socket)
        return self._peer_address

    async def aclose(self) -> None:
        """Close this end; whoever waits on it gets ``ClosedResourceError``.

        What has arrived and was not received is lost.
        """
        self._readiness.close()
        self._receive.inbox.close()
        await trio.lowlevel.checkpoint()

    def _kernel_drops(self) -> int:
        return 0
