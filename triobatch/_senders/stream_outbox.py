"""Messages that wait to be sent together: their order, their room, their ends.

Sans-IO: no event loop, no stream. The tokens are whatever the caller knows
those who wait by.

What a message costs
--------------------
A sender under load gets a thousand messages between two system calls, so
``put`` only appends a message to a list and adds its size to a sum. The rest
is worked out once a batch: the longest wait is that of its first message, and
the peak is what is buffered at its end, as a queue only grows meanwhile. Where
messages end is worked out only when a batch stops part-way, and whether there
is room only when there may be none.

What a message weighs
---------------------
A message of two bytes takes fifty, so a limit of bytes alone would bound
nothing: 256 KiB of such messages take 7 MB. So their number is bounded too, on
its own, so that the limit of bytes is the one that was asked for.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING, Final, TypeAlias, cast

from triobatch._core.chunks import locate
from triobatch._senders.stream_batch import Batch, extra_weight_of, size_of

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable

    from triobatch._senders.stream_batch import Message

_Waiters: TypeAlias = (
    "OrderedDict[Hashable, Message] | OrderedDict[Hashable, int]"
)

# Bytes of the limit for each message that may be buffered: what its object
# and the lists that it passes through take beside its bytes, rounded up. So
# all of these take no more than the limit again.
_WEIGHT_SIZE: Final = 64
_MIN_WEIGHT: Final = 1024  # 64 KiB of them, however low the limit is.


class StreamOutbox:
    """A queue of messages, with those who wait to add to it, or for its end.

    Args:
      max_buffered: Bytes. A message is let in while no more than this is
        buffered, so there is never more than this and one message; and while
        there are not too many for it.
      clock: Returns the time, in seconds.

    Attributes:
      nbytes: Bytes in the queue, and in batches that are on their way.
      closed: Whether nothing more is let in.
      batches: How many batches were sent.
      messages: How many messages they had.
      refused: None, through a stream.
    """

    refused = 0

    def __init__(self, max_buffered: int, clock: Callable[[], float]) -> None:
        self.nbytes = self.batches = self.messages = 0
        self._longest_wait = 0.0
        # When the first message of the batch on its way was put there.
        self._leaving_since: float | None = None
        self._max_buffered = max_buffered
        self._max_weight = max(_MIN_WEIGHT, max_buffered // _WEIGHT_SIZE)
        # While no more bytes than this are buffered, a message is let in.
        self._look_again = -1
        self._clock = clock
        # The messages that no batch has yet, from this index on.
        self._queued: list[Message] = []
        self._first = 0
        self._gathered = self.closed = False
        # Of the batches that are on their way; and of the queue, beyond one a
        # message.
        self._weight_taken = self._extra_weight = 0
        self._peak = 0
        # When the oldest message in the queue was put there.
        self._since = 0.0
        # Bytes of all the batches that were sent. A flush is over when there
        # are as many as were sent or buffered at the call.
        self._sent_size = 0
        self._waiting: OrderedDict[Hashable, Message] = OrderedDict()
        self._flushing: OrderedDict[Hashable, int] = OrderedDict()
        # Those that waited in vain, until they withdraw.
        self._refused: dict[Hashable, None] = {}

    @property
    def longest_wait(self) -> float:
        """Seconds from the queue to the kernel, or until now, at most."""
        since = self._leaving_since
        if since is None:
            if not self._queued:
                # Nor is the clock asked, which ends with the event loop.
                return self._longest_wait
            since = self._since
        return max(self._longest_wait, self._clock() - since)

    @property
    def peak(self) -> int:
        """The most bytes that were ever buffered."""
        return max(self._peak, self.nbytes)

    @property
    def waiting(self) -> int:
        """How many wait for room."""
        return len(self._waiting)

    def put(self, message: Message) -> bool:
        """Queue a message, if there is room, and nobody waits for room."""
        queued = self._queued
        if self.nbytes > self._look_again and not self._admits():
            return False
        if type(message) is bytes:
            size = len(message)
        else:
            size = size_of(message)
            if size:
                self._gathered = True
                self._extra_weight += extra_weight_of(message)
                self._look_again = -1
        if size:
            if not queued:
                self._since = self._clock()
            queued.append(message)
            self.nbytes += size
        return True

    def put_later(self, token: Hashable, message: Message) -> None:
        """Queue a message as soon as there is room, in the order of calls."""
        self._waiting[token] = message
        self._look_again = -1

    def withdraw(self, token: Hashable) -> bool:
        """Wait for room no longer; return False if there was some."""
        return self._remove(token, self._waiting)

    def start_flush(self, token: Hashable) -> bool:
        """Return whether there is something to wait for, and note the token.

        It is freed when all that is buffered now was sent.
        """
        if not self.nbytes:
            return False
        self._flushing[token] = self._sent_size + self.nbytes
        return True

    def withdraw_flush(self, token: Hashable) -> bool:
        """Wait no longer; return False if the wait was over."""
        return self._remove(token, self._flushing)

    def close(self) -> list[Hashable]:
        """Let nothing more in.

        Returns:
          The tokens that waited for room, and do so in vain.
        """
        self.closed = True
        self._look_again = -1
        return self._refuse(self._waiting)

    def abandon(self) -> list[Hashable]:
        """Send nothing more, and let go of what is buffered.

        Returns:
          The tokens of all that wait, in vain.
        """
        self._peak = self.peak
        self._longest_wait, self._leaving_since = self.longest_wait, None
        self.nbytes = self._first = 0
        self._queued = []
        return [*self.close(), *self._refuse(self._flushing)]

    def has_next(self) -> bool:
        """Whether there is something to take."""
        return bool(self._queued)

    def take(self, max_size: int | None = None) -> Batch:
        """Take the messages at the front, or all.

        Args:
          max_size: Bytes. The messages that fit in it whole are taken, and
            the first in any case.
        """
        count = len(self._queued) - self._first
        if max_size is not None and self.nbytes > max_size:
            count = self._count_within(max_size)
        batch = Batch(self._take(count), self._gathered, self._since)
        self._leaving_since = batch.since
        self._weight_taken += batch.weight
        self._extra_weight -= batch.weight - batch.count
        if not self._queued:
            self._gathered = False
        return batch

    def sent(self, batch: Batch) -> list[Hashable]:
        """Account for a batch that was sent whole.

        Returns:
          The tokens of those who need not wait any longer.
        """
        self._peak = self.peak
        self._leaving_since = None
        self._count(batch, batch.count)
        self.nbytes -= batch.nbytes
        self._sent_size += batch.nbytes
        self._weight_taken -= batch.weight
        self._look_again = -1
        freed: list[Hashable] = []
        flushing = self._flushing
        while flushing and next(iter(flushing.values())) <= self._sent_size:
            freed.append(flushing.popitem(last=False)[0])
        if self._waiting:
            freed += self._let_in()
        return freed

    def sent_alone(self, size: int) -> None:
        """Account for a message that was sent at once, past the queue."""
        self._peak = max(self._peak, size)
        self.batches += 1
        self.messages += 1

    def cut_short(self, batch: Batch, count: int) -> None:
        """Account for a batch of which only the first messages were sent."""
        if count:
            self._count(batch, count)

    def _take(self, count: int) -> list[Message]:
        queued, first = self._queued, self._first
        if count == len(queued):
            self._queued = []
            return queued
        last = first + count
        messages = queued[first:last]
        # Released now, and deleted when they are half of the list, so that a
        # message costs the same however many are behind it.
        queued[first:last] = [b""] * count
        self._first = last
        if 2 * last >= len(queued):
            del queued[:last]
            self._first = 0
        return messages

    def _count(self, batch: Batch, count: int) -> None:
        self.batches, self.messages = self.batches + 1, self.messages + count
        waited = self._clock() - batch.since
        self._longest_wait = max(self._longest_wait, waited)

    def _admits(self) -> bool:
        """Whether a message is let in."""
        room = self._max_weight - self._weight_taken - self._extra_weight
        room -= len(self._queued) - self._first
        if self.closed or self._waiting:
            return False
        if self.nbytes > self._max_buffered or room <= 0:
            return False
        # Each message has a byte at least.
        self._look_again = min(self._max_buffered, self.nbytes + room - 1)
        return True

    def _remove(self, token: Hashable, waiters: _Waiters) -> bool:
        for place in (waiters, self._refused):
            if token in place:
                del place[token]
                return True
        return False

    def _refuse(self, waiters: _Waiters) -> list[Hashable]:
        tokens: list[Hashable] = list(waiters)
        waiters.clear()
        self._refused.update(dict.fromkeys(tokens))
        return tokens

    def _let_in(self) -> list[Hashable]:
        let_in: list[Hashable] = []
        waiting, self._waiting = self._waiting, OrderedDict()
        while waiting:
            token, message = waiting.popitem(last=False)
            if not self.put(message):
                waiting[token] = message
                waiting.move_to_end(token, last=False)
                break
            let_in.append(token)
        self._waiting = waiting
        self._look_again = -1
        return let_in

    def _count_within(self, size: int) -> int:
        queued, first = self._queued, self._first
        if self._gathered:
            last = first
            while last < len(queued) and size >= size_of(queued[last]):
                size -= size_of(queued[last])
                last += 1
        else:
            chunks = cast("list[bytes | memoryview]", queued)
            last = locate(chunks, first, 0, size)[0]
        return max(1, last - first)
