"""Datagrams that wait to be sent, and those who wait for what becomes of them.

Sans-IO: no event loop, no socket. The tokens are whatever the caller knows
those who wait by; ``freed`` has those that need not wait any longer.

A datagram is in one of three places: in the queue; in the batch that is on
its way; or in the lane of a destination that has no room, where it waits
behind those that went there before, so that the others pass and the order of
each destination stays. There are lanes only for an unconnected Unix socket:
every other socket has one way out, which is full for all or for none.

The datagrams of one outbox are numbered as they come, and this number, the
tag, is what each is known by as far as the kernel. It tells its index in what
its sender has passed, the order of what is left over, and how far a flush has
come: each place is in the order of the tags, so the oldest datagram that has
no outcome is the first one of some place.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING, Final, TypeAlias

from triobatch._datagrams.errors import DatagramError
from triobatch._wire.addresses import Address
from triobatch._wire.metadata import Metadata

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Iterable

Unsent: TypeAlias = tuple[bytes, Address] | tuple[bytes, Address, Metadata]

# What is sent is deleted from the front of the batch's lists, and the rest
# moved up: a batch of a million cost three times as much a datagram.
MAX_BATCH: Final = 4096


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
      messages: How many were sent.
      refused: How many were not.
      batches: In how many batches.
      freed: The tokens of those who need not wait any longer.
    """

    def __init__(
        self,
        clock: Callable[[], float],
        peer_of: Callable[[Address], bytes],
    ) -> None:
        self.closed = False
        self.nbytes = self.peak = self.count = self.waiting = 0
        self.messages = self.refused = self.batches = 0
        self._longest_wait = 0.0
        self.freed: list[Hashable] = []
        self._clock = clock
        self._peer_of = peer_of
        self._next_tag = 0
        self._queued = Queue()
        self._batch = Queue()
        self._batch_counts = False
        self._lanes: dict[bytes, Queue] = {}
        # Of the lanes whose destination has room again.
        self._ready: list[bytes] = []
        # With the tag that the next datagram had at the call.
        self._flushing: OrderedDict[Hashable, int] = OrderedDict()

    @property
    def longest_wait(self) -> float:
        """Seconds from when a datagram was queued to its outcome.

        The most, and for those that wait now, until now. Of those queued
        between two batches the first one's counts.
        """
        oldest = [place.since for place in self._places() if place]
        if not oldest:
            return self._longest_wait
        return max(self._longest_wait, self._clock() - min(oldest))

    @property
    def on_its_way(self) -> int:
        """How many of the batch have no outcome yet."""
        return len(self._batch)

    @property
    def is_awaited(self) -> bool:
        """Whether somebody waits for an outcome, or for the end of all."""
        return self.closed or bool(self.waiting or self._flushing)

    def close(self) -> tuple[Hashable, ...]:
        """Let nothing more in. Nobody waits for that."""
        self.closed = True
        return ()

    def put(
        self, datagrams: list[QueuedDatagram], waiter: Waiter | None = None
    ) -> None:
        """Queue datagrams; the waiter learns what becomes of them."""
        queued, tag = self._queued, self._next_tag
        if not queued:
            queued.since = self._clock()
        if waiter is not None:
            waiter.first = tag
            waiter.left = len(datagrams)
            self.waiting += len(datagrams)
        size = 0
        for datagram in datagrams:
            datagram.tag = tag
            datagram.waiter = waiter
            datagram.place = queued
            queued[tag] = datagram
            tag += 1
            size += len(datagram.payload)
        self.nbytes += size
        self.count += tag - self._next_tag
        self._next_tag = tag
        if self.nbytes > self.peak:
            self.peak = self.nbytes

    def withdraw(self, datagrams: Iterable[QueuedDatagram]) -> list[int]:
        """Take back datagrams that have no outcome yet.

        Returns:
          The tags of those that are in the batch on its way.
        """
        tags = []
        for datagram in datagrams:
            if datagram.place is self._batch:
                tags.append(datagram.tag)
            self._forget(datagram)
        self._end_flushes()
        return tags

    def has_next(self) -> bool:
        """Whether there may be something to take."""
        return bool(self._queued or self._ready)

    def take(self) -> list[QueuedDatagram]:
        """Make a batch of all that is not held up, or of the front of it."""
        front = self._queued
        if len(front) <= MAX_BATCH:
            self._queued = Queue()
        else:
            queued, front = front, Queue()
            for _ in range(MAX_BATCH):
                front.add(queued.popitem(last=False)[1], queued.since)
        self._batch = self._sort(front) if self._lanes else front
        self._batch_counts = False
        return list(self._batch.values())

    def sent(self, tags: list[int]) -> None:
        """Account for datagrams of the batch that the kernel has taken."""
        self._count_batch()
        batch, freed = self._batch, self.freed
        size = waited_for = 0
        # As ``_settle``, whose frames were a fifth of a long batch.
        for tag in tags:
            datagram = batch.pop(tag)
            datagram.done = True
            datagram.place = None
            size += len(datagram.payload)
            waiter = datagram.waiter
            if waiter is not None:
                waited_for += 1
                waiter.sent += 1
                waiter.left -= 1
                if not waiter.left:
                    freed.append(waiter.token)
        self.messages += len(tags)
        self.nbytes -= size
        self.count -= len(tags)
        self.waiting -= waited_for
        if self._flushing:
            self._end_flushes()

    def refuse(self, tag: int, number: int) -> None:
        """Account for a datagram of the batch that the kernel refused."""
        self._count_batch()
        self.refused += 1
        datagram = self._batch[tag]
        waiter = datagram.waiter
        if waiter is not None and waiter.ignore:
            datagram.done = True
        elif waiter is not None:
            waiter.errors.append(
                DatagramError(number, tag - waiter.first, datagram.address)
            )
        self._settle(datagram)
        self._end_flushes()

    def open_lane(self, peer: bytes) -> bool:
        """Let all for a destination wait; return False if it does so."""
        if peer in self._lanes:
            return False
        self._lanes[peer] = Queue()
        return True

    def hold(self, tag: int, peer: bytes) -> None:
        """Move a datagram of the batch into the lane of its destination."""
        self._lanes[peer].add(self._batch.pop(tag), self._batch.since)

    def close_lane(self, peer: bytes) -> None:
        """Let what waited for a destination go on, with the next batch."""
        self._ready.append(peer)

    def start_flush(self, token: Hashable) -> bool:
        """Return whether there is something to wait for, and note the token.

        It is freed when all that is there now has an outcome.
        """
        if not self.count:
            return False
        self._flushing[token] = self._next_tag
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
        self._longest_wait = self.longest_wait
        unsent: list[QueuedDatagram] = []
        for place in self._places():
            unsent += place.values()
            place.clear()
        unsent.sort(key=lambda datagram: datagram.tag)
        self.freed += self._flushing
        waiters = {d.waiter: None for d in unsent if d.waiter is not None}
        self.freed += [waiter.token for waiter in waiters]
        self.nbytes = self.count = self.waiting = 0
        return unsent

    def _places(self) -> Iterable[Queue]:
        return self._batch, self._queued, *self._lanes.values()

    def _sort(self, queued: Queue) -> Queue:
        """Return what can go, and leave the rest in its lanes."""
        ready = [self._lanes.pop(peer) for peer in self._ready]
        self._ready = []
        found = [
            (tag, datagram, place.since)
            for place in (*ready, queued)
            for tag, datagram in place.items()
        ]
        # By tag, of which there are no two.
        found.sort()
        going = Queue()
        for _, datagram, since in found:
            held_by = self._lanes.get(self._peer_of(datagram.address))
            place = going if held_by is None else held_by
            place.add(datagram, since)
        return going

    def _count_batch(self) -> None:
        if not self._batch_counts:
            self._batch_counts = True
            self.batches += 1
        waited = self._clock() - self._batch.since
        self._longest_wait = max(self._longest_wait, waited)

    def _settle(self, datagram: QueuedDatagram) -> None:
        self._forget(datagram)
        waiter = datagram.waiter
        if waiter is not None:
            waiter.left -= 1
            if not waiter.left:
                self.freed.append(waiter.token)

    def _forget(self, datagram: QueuedDatagram) -> None:
        assert datagram.place is not None
        del datagram.place[datagram.tag]
        datagram.place = None
        self.nbytes -= len(datagram.payload)
        self.count -= 1
        self.waiting -= datagram.waiter is not None

    def _end_flushes(self) -> None:
        flushing = self._flushing
        if not flushing:
            return
        oldest = min(
            (next(iter(place)) for place in self._places() if place),
            default=self._next_tag,
        )
        while flushing and next(iter(flushing.values())) <= oldest:
            self.freed.append(flushing.popitem(last=False)[0])


class Waiter:
    """Somebody who waits for the outcome of one datagram, or of a few.

    Args:
      token: What is known of it.
      ignore: Whether refusals are no errors to it.

    Attributes:
      first: The tag of the first one; the others' follow it.
      left: How many have no outcome yet.
      sent: How many the kernel has taken.
      errors: Why the kernel refused the others.
    """

    __slots__ = ("errors", "first", "ignore", "left", "sent", "token")

    def __init__(self, token: Hashable, *, ignore: bool = False) -> None:
        self.token = token
        self.ignore = ignore
        self.first = self.left = self.sent = 0
        self.errors: list[DatagramError] = []


class QueuedDatagram:
    """A datagram that has no outcome yet.

    Args:
      payload: Exported for as long as it is queued.
      address: Where to.
      metadata: What its IP header shall say.

    Attributes:
      tag: What it is known by, once it is queued.
      waiter: Who wants to know what becomes of it, if anybody.
      done: Whether the kernel has taken it, or refused it for a waiter that
        ignores that.
      place: Where it is; None when it has an outcome.
    """

    __slots__ = (
        "address",
        "done",
        "metadata",
        "payload",
        "place",
        "tag",
        "waiter",
    )

    def __init__(
        self,
        payload: bytes | memoryview,
        address: Address,
        metadata: Metadata | None = None,
    ) -> None:
        self.payload = payload
        self.address = address
        self.metadata = metadata
        self.tag = 0
        self.waiter: Waiter | None = None
        self.done = False
        self.place: Queue | None = None


class Queue(OrderedDict[int, QueuedDatagram]):
    """Datagrams by their tags, the oldest first.

    No plain dict, which to find its first key walks over all the places in
    front of it that are empty by now.

    Attributes:
      since: When the first one was queued.
    """

    __slots__ = ("since",)

    def __init__(self) -> None:
        super().__init__()
        self.since = 0.0

    def add(self, datagram: QueuedDatagram, since: float) -> None:
        """Append one that was queued elsewhere before."""
        if not self:
            self.since = since
        self[datagram.tag] = datagram
        datagram.place = self
