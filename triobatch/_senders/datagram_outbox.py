"""Datagrams that wait to be sent, and those who wait for what becomes of them.

Sans-IO: no event loop, no socket. The tokens are whatever the caller knows
those who wait by; ``freed`` has those that need not wait any longer.

A datagram is in one of three places: in the queue; in the batch that is on
its way; or in the lane of a destination that has no room, where it waits
behind those that went there before, so that the others pass and the order of
each destination stays. There are lanes only for an unconnected Unix socket:
every other socket has one way out, which is full for all or for none.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING

from triobatch._datagrams.errors import DatagramError

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable

    from triobatch._wire.addresses import Address


class DatagramOutbox:
    """A queue of datagrams, the batch on its way, and what is held up.

    Args:
      clock: Returns the time, in seconds.
      peer_of: Returns the sockaddr for an address.

    Attributes:
      closed: Whether nothing more is let in.
      nbytes: Bytes of all that have no outcome yet.
      peak: The most that this ever was.
      count: How many have no outcome yet.
      waiting: How many of them somebody waits for.
      on_its_way: How many of them are in the batch.
      messages: How many were sent.
      refused: How many were not.
      batches: In how many batches.
      longest_wait: Seconds from when a datagram was queued to its outcome, at
        most; of those queued between two batches the first one's counts.
      freed: The tokens of those who need not wait any longer.
    """

    def __init__(
        self,
        clock: Callable[[], float],
        peer_of: Callable[[Address], bytes],
    ) -> None:
        self.closed = False
        self.nbytes = self.peak = self.count = self.waiting = 0
        self.on_its_way = 0
        self.messages = self.refused = self.batches = 0
        self.longest_wait = 0.0
        self.freed: list[Hashable] = []
        self._clock = clock
        self._peer_of = peer_of
        self._queued = Queue()
        self._lanes: dict[bytes, Queue] = {}
        # Of the lanes whose destination has room again.
        self._ready: list[bytes] = []
        self._batch: list[QueuedDatagram] = []
        self._number = 0
        # When the first one of the batch was queued.
        self._since = 0.0
        self._batch_counts = False
        # A flush ends an epoch, and waits until all datagrams of that one and
        # those before it have an outcome. The last epoch is always there.
        self._epoch = 0
        self._pending: OrderedDict[int, int] = OrderedDict({0: 0})
        self._flushing: OrderedDict[Hashable, int] = OrderedDict()

    def close(self) -> tuple[Hashable, ...]:
        """Let nothing more in; nobody waits for that."""
        self.closed = True
        return ()

    def put(self, datagrams: list[QueuedDatagram]) -> None:
        """Queue datagrams."""
        queued, epoch, number = self._queued, self._epoch, self._number
        if not queued:
            queued.since = self._clock()
        for datagram in datagrams:
            datagram.epoch = epoch
            datagram.number = number
            datagram.place = queued
            queued[datagram] = None
            number += 1
            self.nbytes += len(datagram.payload)
            self.waiting += datagram.waiter is not None
        self._number = number
        count = len(datagrams)
        self.count += count
        self._pending[epoch] += count
        self.peak = max(self.peak, self.nbytes)

    def withdraw(self, datagram: QueuedDatagram) -> int | None:
        """Take back a datagram that has no outcome yet.

        Returns:
          Its position in the batch on its way, if it is in that.
        """
        position = None
        if datagram.place is not None:
            del datagram.place[datagram]
        else:
            position = datagram.position
            self.on_its_way -= 1
        self._forget(datagram)
        return position

    def has_next(self) -> bool:
        """Whether there may be something to take."""
        return bool(self._queued or self._ready)

    def take(self) -> list[QueuedDatagram]:
        """Make a batch of all that is not held up."""
        queued, self._queued = self._queued, Queue()
        if self._lanes:
            queued = self._sort(queued)
        batch = self._batch = list(queued)
        for position, datagram in enumerate(batch):
            datagram.place = None
            datagram.position = position
        self.on_its_way = len(batch)
        self._since = queued.since
        self._batch_counts = False
        return batch

    def done(self) -> None:
        """Let go of the batch, all of which has an outcome, or is held up."""
        self._batch = []

    def sent(self, positions: list[int]) -> None:
        """Account for datagrams of the batch that the kernel has taken."""
        self._count_batch()
        self.messages += len(positions)
        self.on_its_way -= len(positions)
        batch = self._batch
        for position in positions:
            datagram = batch[position]
            datagram.sent = True
            waiter = datagram.waiter
            self._forget(datagram)
            if waiter is not None:
                waiter.sent += 1
                self._settle(waiter)

    def refuse(self, error: DatagramError) -> None:
        """Account for a datagram of the batch that the kernel refused."""
        self._count_batch()
        self.refused += 1
        self.on_its_way -= 1
        datagram = self._batch[error.index]
        waiter = datagram.waiter
        self._forget(datagram)
        if waiter is not None:
            # To its sender its place is another one.
            waiter.errors.append(
                DatagramError(error.errno or 0, datagram.index, error.address)
            )
            self._settle(waiter)

    def open_lane(self, peer: bytes) -> bool:
        """Let everything for a destination wait; False if it does so."""
        if peer in self._lanes:
            return False
        self._lanes[peer] = Queue()
        return True

    def hold(self, position: int, peer: bytes) -> None:
        """Move a datagram of the batch into the lane of its destination."""
        self.on_its_way -= 1
        self._enter(self._batch[position], self._lanes[peer], self._since)

    def close_lane(self, peer: bytes) -> None:
        """Let what waited for a destination go on, with the next batch."""
        self._ready.append(peer)

    def start_flush(self, token: Hashable) -> bool:
        """Return whether there is something to wait for, and note the token.

        It is freed when all that is there now has an outcome.
        """
        if not self.count:
            return False
        self._flushing[token] = self._epoch
        self._epoch += 1
        self._pending[self._epoch] = 0
        return True

    def withdraw_flush(self, token: Hashable) -> bool:
        """Wait no longer; return False if the wait was over."""
        return self._flushing.pop(token, None) is not None

    def abandon(self) -> list[QueuedDatagram]:
        """Send nothing more; free all who wait, in vain.

        Returns:
          What was not sent, in the order in which it was queued.
        """
        self.closed = True
        unsent = [d for d in self._batch if d.position >= 0]
        for place in (*self._lanes.values(), self._queued):
            unsent += place
            place.clear()
        unsent.sort(key=lambda datagram: datagram.number)
        self.freed += self._flushing
        waiters = {d.waiter: None for d in unsent if d.waiter is not None}
        self.freed += [waiter.token for waiter in waiters]
        self._batch = []
        self.nbytes = self.count = self.waiting = self.on_its_way = 0
        return unsent

    def _sort(self, queued: Queue) -> Queue:
        """Return what can go, and leave the rest in its lanes."""
        going = Queue()
        going.since = queued.since if queued else self._clock()
        for peer in self._ready:
            lane = self._lanes.pop(peer)
            if lane:
                going.since = min(going.since, lane.since)
                going.update(lane)
        self._ready = []
        for datagram in queued:
            held_by = self._lanes.get(self._peer_of(datagram.address))
            if held_by is None:
                going[datagram] = None
            else:
                self._enter(datagram, held_by, queued.since)
        return going

    def _enter(
        self, datagram: QueuedDatagram, lane: Queue, since: float
    ) -> None:
        if not lane:
            lane.since = since
        lane[datagram] = None
        datagram.place = lane
        datagram.position = -1

    def _settle(self, waiter: Waiter) -> None:
        waiter.left -= 1
        if not waiter.left:
            self.freed.append(waiter.token)

    def _count_batch(self) -> None:
        if not self._batch_counts:
            self._batch_counts = True
            self.batches += 1
        waited = self._clock() - self._since
        self.longest_wait = max(self.longest_wait, waited)

    def _forget(self, datagram: QueuedDatagram) -> None:
        self.waiting -= datagram.waiter is not None
        self.count -= 1
        self.nbytes -= len(datagram.payload)
        datagram.position = -1
        datagram.place = None
        epoch = datagram.epoch
        self._pending[epoch] -= 1
        if not self._pending[epoch] and epoch != self._epoch:
            self._end_flushes()

    def _end_flushes(self) -> None:
        pending, flushing = self._pending, self._flushing
        oldest = next(iter(pending))
        while not pending[oldest] and oldest != self._epoch:
            del pending[oldest]
            oldest = next(iter(pending))
        while flushing and next(iter(flushing.values())) < oldest:
            self.freed.append(flushing.popitem(last=False)[0])


class Waiter:
    """Somebody who waits for the outcome of one datagram, or of a few.

    Attributes:
      left: How many have no outcome yet.
      sent: How many the kernel has taken.
      errors: Why the kernel refused the others.
    """

    __slots__ = ("errors", "left", "sent", "token")

    def __init__(self, token: Hashable, count: int) -> None:
        self.token = token
        self.left = count
        self.sent = 0
        self.errors: list[DatagramError] = []


class QueuedDatagram:
    """A datagram that has no outcome yet.

    Args:
      payload: Exported for as long as it is queued.
      address: Where to.
      waiter: Who wants to know what becomes of it, if anybody.
      index: Its place in what the waiter sends.

    Attributes:
      sent: Whether the kernel has taken it.
      place: The queue that it is in, or the lane.
      position: In the batch that is on its way; -1 if it is not in that.
      number: The datagrams of one outbox are numbered as they come.
      epoch: The flushes that wait for it are those from this one on.
    """

    __slots__ = (
        "address",
        "epoch",
        "index",
        "number",
        "payload",
        "place",
        "position",
        "sent",
        "waiter",
    )

    def __init__(
        self,
        payload: bytes | memoryview,
        address: Address,
        waiter: Waiter | None = None,
        index: int = 0,
    ) -> None:
        self.payload = payload
        self.address = address
        self.waiter = waiter
        self.index = index
        self.sent = False
        self.place: Queue | None = None
        self.position = -1
        self.number = self.epoch = 0


class Queue(dict[QueuedDatagram, None]):
    """Datagrams in order; a withdrawn one is deleted, which takes no time.

    Attributes:
      since: When the first one was queued.
    """

    __slots__ = ("since",)

    def __init__(self) -> None:
        super().__init__()
        self.since = 0.0
