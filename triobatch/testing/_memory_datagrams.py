"""A pair of datagram sockets that exist in memory only."""

from __future__ import annotations

import operator
from collections import deque
from typing import TYPE_CHECKING, TypeAlias

import trio
from trio.lowlevel import ParkingLot, checkpoint, checkpoint_if_cancelled

from triobatch._queues.buffers import Buffers
from triobatch._queues.datagrams import Datagrams, as_datagrams
from triobatch._queues.views import view_of_bytes

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from types import TracebackType

    from typing_extensions import Buffer, Self

    from triobatch._queues.datagrams import Datagram

Link: TypeAlias = "Callable[[bytes], Iterable[bytes]]"


def memory_datagram_pair(
    *, max_queued: int | None = None, link: Link | None = None
) -> tuple[MemoryDatagramSocket, MemoryDatagramSocket]:
    """Return two connected datagram sockets that exist in memory only.

    They have the methods of ``DatagramSocket`` that send, without metadata,
    and those that receive payloads and addresses, but none for what only a
    network has: no ``receive_messages``, ``receive_errors`` or
    ``statistics``. They never lose or change a datagram of their own accord,
    so that a test of a protocol is deterministic.

    Args:
      max_queued: How many datagrams an end holds until they are received;
        sending waits for room. No limit by default.
      link: Called with each payload that is sent; what it returns is what
        arrives: nothing for a lost datagram, two for a doubled one. ::

            lose_every_other = itertools.cycle([True, False]).__next__
            pair = memory_datagram_pair(
                link=lambda data: [] if lose_every_other() else [data]
            )
    """
    left = MemoryDatagramSocket("left", max_queued, link)
    right = MemoryDatagramSocket("right", max_queued, link)
    left._peer, right._peer = right, left
    return left, right


class MemoryDatagramSocket:
    """One end of a pair; see ``memory_datagram_pair``.

    Attributes:
      address: What the other end receives from.
    """

    _peer: MemoryDatagramSocket

    def __init__(
        self, address: str, max_queued: int | None, link: Link | None
    ) -> None:
        self.address = address
        self._max_queued = max_queued
        self._link = link
        self._queue: deque[tuple[bytes, str]] = deque()
        self._closed = False
        self._readers = ParkingLot()
        self._writers = ParkingLot()

    async def send(
        self, data: Buffer | Buffers, address: object = None
    ) -> None:
        """Send one datagram; see ``DatagramSocket.send``."""
        await checkpoint_if_cancelled()
        while not self._has_room():
            await self._peer._writers.park()
        self.send_nowait(data, address)
        await trio.lowlevel.cancel_shielded_checkpoint()

    def send_nowait(
        self, data: Buffer | Buffers, address: object = None
    ) -> None:
        """Send one datagram now, or raise ``WouldBlock``."""
        if address not in (None, self._peer.address):
            raise ValueError(
                f"address must be {self._peer.address!r}, not {address!r}"
            )
        if not self._has_room():
            raise trio.WouldBlock
        if isinstance(data, Buffers):
            payload = data.read()
        else:
            with view_of_bytes(data, "data") as view:
                payload = bytes(view)
        peer = self._peer
        if not peer._closed:
            arriving = [payload] if self._link is None else self._link(payload)
            peer._queue.extend((item, self.address) for item in arriving)
        peer._readers.unpark_all()

    async def send_batch(
        self, datagrams: Datagrams | Iterable[Datagram]
    ) -> int:
        """Send a batch; see ``DatagramSocket.send_batch``."""
        queue = as_datagrams(datagrams)
        count = len(queue)
        if not count:
            await checkpoint()
        while queue:
            payload, address = next(iter(queue))
            await self.send(payload, address)
            queue.consume(1)
        return count

    def send_batch_nowait(self, datagrams: Datagrams) -> int:
        """Send what goes now of a batch, and leave the rest in it."""
        sent = self._send_now(list(datagrams))
        datagrams.consume(sent)
        return sent

    async def send_many(
        self, payloads: Iterable[Buffer], address: object = None
    ) -> int:
        """Send many datagrams to one address."""
        listed = list(payloads)
        if not listed:
            await checkpoint()
        for payload in listed:
            await self.send(payload, address)
        return len(listed)

    def send_many_nowait(
        self, payloads: Iterable[Buffer], address: object = None
    ) -> int:
        """Send what goes now, from the first on, or raise ``WouldBlock``."""
        return self._send_now((payload, address) for payload in payloads)

    async def send_segments(
        self, data: Buffer, segment_size: int, address: object = None
    ) -> int:
        """Send ``data`` as datagrams of one size, but for the last."""
        return await self.send_many(_cut(data, segment_size), address)

    def send_segments_nowait(
        self, data: Buffer, segment_size: int, address: object = None
    ) -> int:
        """Send what goes now, from the first on, or raise ``WouldBlock``."""
        return self.send_many_nowait(_cut(data, segment_size), address)

    async def receive(self) -> tuple[bytes, str]:
        """Receive one datagram, and where it is from."""
        return (await self.receive_batch(1))[0]

    def receive_nowait(self) -> tuple[bytes, str]:
        """Receive one datagram now, or raise ``WouldBlock``."""
        return self.receive_batch_nowait(1)[0]

    async def receive_batch(
        self, max_datagrams: int = 64
    ) -> list[tuple[bytes, str]]:
        """Receive what is there; wait for the first datagram if need be."""
        await checkpoint()
        self._check_open()
        while not self._queue:
            await self._readers.park()
            self._check_open()
        return self.receive_batch_nowait(max_datagrams)

    def receive_batch_nowait(
        self, max_datagrams: int = 64
    ) -> list[tuple[bytes, str]]:
        """Receive what is there, or raise ``WouldBlock``."""
        if max_datagrams < 1:
            raise ValueError(
                f"max_datagrams must be at least 1, not {max_datagrams}"
            )
        self._check_open()
        if not self._queue:
            raise trio.WouldBlock
        count = min(max_datagrams, len(self._queue))
        batch = [self._queue.popleft() for _ in range(count)]
        self._writers.unpark_all()
        return batch

    async def aclose(self) -> None:
        """Close this end; whoever waits on it gets ``ClosedResourceError``.

        What the other end sends from now on is lost, as with UDP.
        """
        self._closed = True
        self._queue.clear()
        for lot in (self._readers, self._writers, self._peer._writers):
            lot.unpark_all()
        await checkpoint()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.aclose()

    def _send_now(self, datagrams: Iterable[tuple[Buffer, object]]) -> int:
        sent = 0
        for payload, address in datagrams:
            try:
                self.send_nowait(payload, address)
            except trio.WouldBlock:
                if not sent:
                    raise
                break
            sent += 1
        return sent

    def _check_open(self) -> None:
        if self._closed:
            raise trio.ClosedResourceError("this socket was already closed")

    def _has_room(self) -> bool:
        self._check_open()
        peer = self._peer
        return (
            peer._closed
            or self._max_queued is None
            or len(peer._queue) < self._max_queued
        )


def _cut(data: Buffer, segment_size: int) -> list[bytes]:
    if operator.index(segment_size) < 1:
        raise ValueError(
            f"segment_size must be at least 1, not {segment_size}"
        )
    with view_of_bytes(data, "data") as view:
        return [
            bytes(view[start : start + segment_size])
            for start in range(0, len(view), segment_size)
        ]
