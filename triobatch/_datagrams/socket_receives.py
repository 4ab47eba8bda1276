"""What a datagram socket offers to a task that receives."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator
from collections.abc import Set as AbstractSet

from triobatch._datagrams.receiving import BATCH, ReceiveHalf
from triobatch._wire.addresses import Address
from triobatch._wire.arguments import as_integer
from triobatch._wire.error_queue import PeerError
from triobatch._wire.metadata import Message


class DatagramReceiver:
    """The receiving methods of ``DatagramSocket``.

    Args:
      receive: The half that does it.
    """

    def __init__(self, receive: ReceiveHalf) -> None:
        self._receive = receive

    async def receive(self) -> tuple[bytes, Address]:
        """Receive one datagram.

        Returns:
          The payload, and the sender as from ``recvfrom``: ``None`` for a
          Unix peer without a name.

        Raises:
          TruncatedDatagramError: an OSError: the next datagram was larger
            than a slot of 64 KiB, which only a Unix peer can send.
          OSError: the socket has failed.
          BusyResourceError: another task is receiving.
          ClosedResourceError: the socket is closed, or was shut down for
            receiving and nothing is left.

        Nothing is lost if it is cancelled. See recvmmsg(2).
        """
        (datagram,) = await self._receive.receive(1, self._receive.inbox.take)
        return datagram

    def receive_nowait(self) -> tuple[bytes, Address]:
        """Receive one datagram now, or raise ``WouldBlock``.

        See ``receive``.
        """
        (datagram,) = self._receive.receive_nowait(1, self._receive.inbox.take)
        return datagram

    async def receive_batch(
        self, max_datagrams: int = BATCH
    ) -> list[tuple[bytes, Address]]:
        """Receive what is there, and wait only if nothing is.

        Args:
          max_datagrams: How many at most, at least 1. What the kernel hands
            over beyond that is kept for the next call.

        Returns:
          ``(payload, address)`` pairs, at least one, as ``send_batch`` takes
          them: in the order in which they came.

        Raises:
          TruncatedDatagramError: an OSError: the next datagram was larger
            than a slot of 64 KiB, which only a Unix peer can send. Those
            before it have been returned, those behind it will be.
          ValueError: ``max_datagrams`` is not positive.
          OSError: the socket has failed.
          BusyResourceError: another task is receiving.
          ClosedResourceError: the socket is closed, or was shut down for
            receiving and nothing is left.

        Nothing is lost if it is cancelled. See recvmmsg(2), udp(7).
        """
        if max_datagrams is not BATCH:
            max_datagrams = check_limit(max_datagrams)
        return await self._receive.receive(
            max_datagrams, self._receive.inbox.take
        )

    def receive_batch_nowait(
        self, max_datagrams: int = BATCH
    ) -> list[tuple[bytes, Address]]:
        """Receive what is there, or raise ``WouldBlock``.

        See ``receive_batch``.
        """
        if max_datagrams is not BATCH:
            max_datagrams = check_limit(max_datagrams)
        return self._receive.receive_nowait(
            max_datagrams, self._receive.inbox.take
        )

    def batches(
        self, max_datagrams: int = BATCH
    ) -> AsyncIterator[list[tuple[bytes, Address]]]:
        """Receive batches, one after another, for ever.

        ::

            async for batch in sock.batches():
                await sock.send_batch(batch, errors="ignore")

        Args:
          max_datagrams: How many a batch has at most, at least 1.

        Returns:
          An iterator, each item of which is what ``receive_batch`` returns. It
          raises what that does, and can then be asked for the next. Nothing is
          lost when the loop is left.
        """
        if max_datagrams is not BATCH:
            max_datagrams = check_limit(max_datagrams)
        return _Batches(self, max_datagrams)

    async def receive_messages(
        self,
        max_datagrams: int = BATCH,
        *,
        fields: AbstractSet[str] | None = None,
    ) -> list[Message]:
        """Receive what is there, with what the kernel says of it.

        Like ``receive_batch``, but a truncated datagram is returned, and
        marked.

        Args:
          max_datagrams: How many at most, as for ``receive_batch``.
          fields: A set of ``Metadata``'s names, for these only, and no
            timestamp; with the local address comes the interface, as an
            answer needs both. ``None`` is all there is. What is not asked for
            is ``None`` in the messages. The fewer, the faster: the local
            address and the ECN codepoint cost next to nothing.

        Returns:
          Messages, at least one, in the order in which they came.

        Raises:
          TypeError: ``fields`` is no set. Nothing was received.
          ValueError: one of them is no name of ``Metadata``.
          OSError, BusyResourceError, ClosedResourceError: as from
            ``receive_batch``.

        The first call that asks for something turns that on (IP_PKTINFO,
        IP_RECVTOS, IP_RECVTTL, SO_TIMESTAMPNS; Linux), and it stays on: of
        datagrams that came before it, some may be missing. Nothing is lost if
        it is cancelled. See ip(7), ipv6(7).
        """
        if max_datagrams is not BATCH:
            max_datagrams = check_limit(max_datagrams)
        return await self._receive.receive(
            max_datagrams, self._receive.messages(fields)
        )

    def receive_messages_nowait(
        self,
        max_datagrams: int = BATCH,
        *,
        fields: AbstractSet[str] | None = None,
    ) -> list[Message]:
        """Receive what is there, or raise ``WouldBlock``.

        See ``receive_messages``.
        """
        if max_datagrams is not BATCH:
            max_datagrams = check_limit(max_datagrams)
        return self._receive.receive_nowait(
            max_datagrams, self._receive.messages(fields)
        )

    async def receive_errors(self) -> list[PeerError]:
        """Receive what the network reports of datagrams sent earlier.

        Returns:
          At least one report. The last 1024 are kept for this call.

        Raises:
          ValueError: the socket was made without ``error_queue``.
          BusyResourceError: another task is receiving errors.
          ClosedResourceError: the socket is closed, or was shut down.

        It can wait beside a task that receives datagrams. A cancelled call
        loses none. See ip(7), IP_RECVERR.
        """
        return await self._receive.receive_errors()

    def receive_errors_nowait(self) -> list[PeerError]:
        """Receive reports now, or raise ``WouldBlock``.

        See ``receive_errors``.
        """
        return self._receive.receive_errors_nowait()


class _Batches:
    """What ``batches`` returns: no generator, which would need closing."""

    def __init__(self, receiver: DatagramReceiver, limit: int) -> None:
        self._receiver = receiver
        self._limit = limit

    def __aiter__(self) -> _Batches:
        return self

    async def __anext__(self) -> list[tuple[bytes, Address]]:
        return await self._receiver.receive_batch(self._limit)


def check_limit(limit: int) -> int:
    """Return a number of datagrams that C can hold, too.

    Raises:
      TypeError: it is no number.
      ValueError: it is not positive.
    """
    count = as_integer(limit, "max_datagrams")
    if count < 1:
        raise ValueError(f"max_datagrams must be at least 1, not {count}")
    return min(count, sys.maxsize)
