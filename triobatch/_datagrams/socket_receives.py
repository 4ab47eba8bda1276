"""What a datagram socket offers to a task that receives."""

import contextlib
import operator
from collections.abc import Callable
from typing import TypeVar

import trio

from triobatch._datagrams.readiness import Readiness
from triobatch._datagrams.receiving import BATCH, Receiver
from triobatch._resource import Guard, pause_after
from triobatch._wire.addresses import Address
from triobatch._wire.error_queue import PeerError
from triobatch._wire.metadata import Message, metadata_options

T = TypeVar("T")


class DatagramReceiver:
    """The receiving methods of ``DatagramSocket``."""

    socket: trio.socket.SocketType
    _readiness: Readiness

    def __init__(self) -> None:
        self._receiver = Receiver(int(self.socket.family))
        self._receive_guard = Guard("another task is receiving here")
        self._errors_guard = Guard("another task is receiving errors here")
        self._metadata_on = False

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
        (datagram,) = await self._receive(1, self._receiver.inbox.take)
        return datagram

    def receive_nowait(self) -> tuple[bytes, Address]:
        """Receive one datagram now, or raise ``WouldBlock``."""
        (datagram,) = self._receive_nowait(1, self._receiver.inbox.take)
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
        return await self._receive(max_datagrams, self._receiver.inbox.take)

    def receive_batch_nowait(
        self, max_datagrams: int = BATCH
    ) -> list[tuple[bytes, Address]]:
        """Receive what is there, or raise ``WouldBlock``."""
        return self._receive_nowait(max_datagrams, self._receiver.inbox.take)

    async def receive_messages(
        self, max_datagrams: int = BATCH
    ) -> list[Message]:
        """Receive what is there, with what the kernel says of it.

        Like ``receive_batch``, but a truncated datagram is returned, and
        marked. The first call turns the metadata on (IP_PKTINFO, IP_RECVTOS,
        IP_RECVTTL, SO_TIMESTAMPNS; Linux): of datagrams that came before it,
        some may be missing.
        """
        _check_limit(max_datagrams)
        self._turn_metadata_on()
        return await self._receive(
            max_datagrams, self._receiver.inbox.take_messages
        )

    def receive_messages_nowait(
        self, max_datagrams: int = BATCH
    ) -> list[Message]:
        """Receive what is there, or raise ``WouldBlock``."""
        _check_limit(max_datagrams)
        self._turn_metadata_on()
        return self._receive_nowait(
            max_datagrams, self._receiver.inbox.take_messages
        )

    async def receive_errors(self) -> list[PeerError]:
        """Receive what the network reports of datagrams sent earlier.

        Returns:
          At least one report. The last 1024 are kept for this call.

        Raises:
          ValueError: the socket was made without ``error_queue``.
          BusyResourceError: another task is receiving errors.
          ClosedResourceError: the socket is closed, or was shut down.

        It can wait beside a task that receives datagrams. See ip(7),
        IP_RECVERR.
        """
        self._check_errors_are_kept()
        with self._errors_guard:
            await trio.lowlevel.checkpoint_if_cancelled()
            self._readiness.drain()
            waits = 0
            while not self._readiness.errors:
                await self._readiness.error(again=waits > 0)
                await pause_after(waits)
                waits += 1
                self._readiness.drain()
            if not waits:
                await trio.lowlevel.cancel_shielded_checkpoint()
            return self._take_errors()

    def receive_errors_nowait(self) -> list[PeerError]:
        """Receive reports now, or raise ``WouldBlock``."""
        self._check_errors_are_kept()
        with self._errors_guard:
            self._readiness.drain()
            if not self._readiness.errors:
                raise trio.WouldBlock
            return self._take_errors()

    def _check_errors_are_kept(self) -> None:
        if not self._readiness.keep_errors:
            raise ValueError("this socket was made without error_queue=True")

    @trio.lowlevel.enable_ki_protection
    def _take_errors(self) -> list[PeerError]:
        errors = list(self._readiness.errors)
        self._readiness.errors.clear()
        return errors

    async def _receive(
        self, limit: int, take: Callable[[int], list[T]]
    ) -> list[T]:
        _check_limit(limit)
        with self._receive_guard:
            await trio.lowlevel.checkpoint_if_cancelled()
            waits = 0
            while not self._fill(limit, waited=waits > 0):
                # `again` if this is not the first wait.
                await self._readiness.readable(again=waits > 0)
                await pause_after(waits)
                waits += 1
            # Datagrams leave the inbox after the last point at which
            # anything can be raised.
            if not waits:
                await trio.lowlevel.cancel_shielded_checkpoint()
            return self._take(limit, take)

    def _receive_nowait(
        self, limit: int, take: Callable[[int], list[T]]
    ) -> list[T]:
        _check_limit(limit)
        with self._receive_guard:
            if not self._fill(limit, waited=False):
                raise trio.WouldBlock
            return self._take(limit, take)

    @trio.lowlevel.enable_ki_protection
    def _fill(self, limit: int, *, waited: bool) -> bool:
        fd = self._readiness.fileno()
        if self._receiver.inbox:
            return True
        return self._receiver.fill(fd, limit, waited=waited)

    @trio.lowlevel.enable_ki_protection
    def _take(self, limit: int, take: Callable[[int], list[T]]) -> list[T]:
        return take(limit)

    def _turn_metadata_on(self) -> None:
        if self._metadata_on:
            return
        self._readiness.fileno()
        for level, option in metadata_options(int(self.socket.family)):
            # A Unix socket has the timestamp only, other systems less.
            with contextlib.suppress(OSError):
                self.socket.setsockopt(level, option, 1)
        self._metadata_on = True


def _check_limit(limit: int) -> None:
    if operator.index(limit) < 1:
        raise ValueError(f"max_datagrams {limit} is not positive")
