"""What all datagram sockets are, whatever moves their datagrams."""

from __future__ import annotations

import errno
from abc import abstractmethod

from trio.abc import AsyncResource

from triobatch._datagrams.receiving import ReceiveHalf
from triobatch._datagrams.sending import SendHalf
from triobatch._datagrams.socket_receives import DatagramReceiver
from triobatch._datagrams.socket_runs import DatagramRuns
from triobatch._datagrams.socket_sends import DatagramSender
from triobatch._datagrams.statistics import DatagramStatistics
from triobatch._resource import only_async
from triobatch._wire.addresses import Address


@only_async
class AbstractDatagramSocket(
    DatagramSender, DatagramReceiver, DatagramRuns, AsyncResource
):
    """A datagram socket that sends and receives in batches, of any kind.

    What takes one in an annotation takes a ``DatagramSocket``, and in its
    tests one end of ``triobatch.testing.memory_datagram_pair()``, or a socket
    of a simulated network (``triobatch.testing.simulate()``). All that
    moves datagrams is written once, here; a kind of socket adds how it is made
    and closed. It is not for other packages to derive from, since what it
    stands on is private.

    Args:
      send: Its way out.
      receive: Its way in.
    """

    def __init__(self, send: SendHalf, receive: ReceiveHalf) -> None:
        DatagramSender.__init__(self, send)
        DatagramReceiver.__init__(self, receive)
        DatagramRuns.__init__(self, send, receive)

    @property
    @abstractmethod
    def local_address(self) -> Address:
        """Where it is bound, as ``recvfrom`` would have it.

        An IPv4 socket that is not bound yet is at ``("0.0.0.0", 0)``, a Unix
        socket without a name at None.

        Raises:
          trio.ClosedResourceError: the socket is closed.
        """

    @property
    @abstractmethod
    def remote_address(self) -> Address:
        """The connected peer; None without one, or if that has no name.

        Raises:
          trio.ClosedResourceError: the socket is closed.
        """

    def statistics(self) -> DatagramStatistics:
        """Return the counts of this moment."""
        outlet = self._send.outlet
        sent = outlet.counters
        received = self._receive.counters
        refusals = outlet.segmentation.refusals
        return DatagramStatistics(
            datagrams_sent=sent.datagrams,
            send_calls=sent.calls,
            gso_runs=sent.runs,
            gso_refusals={
                errno.errorcode.get(number, str(number)): count
                for number, count in refusals.items()
            },
            refused=sent.refused,
            datagrams_received=received.datagrams,
            receive_calls=received.calls,
            truncated=self._receive.inbox.truncated,
            reports=sent.reports + received.reports,
            kernel_drops=self._kernel_drops(),
        )

    @abstractmethod
    async def aclose(self) -> None:
        """Close the socket; whoever waits gets ``ClosedResourceError``.

        The socket is closed also if this is cancelled, and it may be closed
        more than once.
        """

    @abstractmethod
    def _kernel_drops(self) -> int | None:
        """Return what ``DatagramStatistics`` says."""
