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
from triobatch._queues.buffers import Buffers, first_bytes
from triobatch._queues.views import release

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable

# A Buffers is one message of many chunks, and is nobody else's.
Message: TypeAlias = bytes | Buffers
_Waiters: TypeAlias = (
    "OrderedDict[Hashable, Message] | OrderedDict[Hashable, int]"
)

# Bytes of the limit for each message that may be buffered: what its object
# and the lists that it passes through take beside its bytes, rounded up. So
# all of these take no more than the limit again.
_WEIGHT_SIZE: Final = 64
_MIN_WEIGHT: Final = 1024  # 64 KiB of them, however low the limit is.
# What a Buffers weighs more than a message that is bytes, and what each of
# its chunks does, which may be a view.
_BUFFERS_WEIGHT: Final = 8
_CHUNK_WEIGHT: Final = 4


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
        since, now = self._leaving_since, self._clock()
        if since is None:
            since = self._since if self._queued else now
        return max(self._longest_wait, now - since)

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
            size = _size_of(message)
            if size:
                self._gathered = True
                self._extra_weight += _extra_weight_of(message)
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
            while last < len(queued) and size >= _size_of(queued[last]):
                size -= _size_of(queued[last])
                last += 1
        else:
            chunks = cast("list[bytes | memoryview]", queued)
            last = locate(chunks, first, 0, size)[0]
        return max(1, last - first)


class Batch:
    """Messages that leave together, and how far they have got.

    Args:
      messages: At least one. The list is the batch's from now on.
      gathered: Whether one of them may be a ``Buffers``.
      since: When the first of them was queued, in seconds.

    Attributes:
      buffers: What is left of them, consumed as it is sent.
      count: How many messages there were.
      nbytes: How many bytes there were.
      weight: What they weigh.
    """

    __slots__ = (
        "_messages",
        "_sizes",
        "buffers",
        "count",
        "nbytes",
        "since",
        "weight",
    )

    def __init__(
        self, messages: list[Message], gathered: bool, since: float
    ) -> None:
        self.count = self.weight = len(messages)
        self.since = since
        self._messages = messages
        self._sizes: list[int] | None = None
        if gathered:
            self._sizes = list(map(_size_of, messages))
            self.weight += sum(map(_extra_weight_of, messages))
            self.buffers = _chain(messages)
        else:
            self.buffers = Buffers(cast("list[bytes]", messages))
        self.nbytes = self.buffers.nbytes

    def boundary(self) -> tuple[int, int]:
        """Return where it stopped.

        Returns:
          The number of the first message of which nothing was sent, and the
          bytes left of the one before it: 0 at a message boundary.
        """
        left = self.buffers.nbytes
        sizes = self._message_sizes()
        index = len(sizes)
        while index and sizes[index - 1] <= left:
            index -= 1
            left -= sizes[index]
        return index, left

    def part(self) -> Buffers:
        """Return the rest of the message that is part-way out."""
        return Buffers(first_bytes(self.buffers, self.boundary()[1]))

    def unsent(self) -> tuple[bytes, list[bytes]]:
        """Consume what is left.

        Returns:
          The rest of a message that is part-way out, and the messages of
          which nothing was sent.
        """
        index, part = self.boundary()
        read = self.buffers.read
        return read(part), list(map(read, self._message_sizes()[index:]))

    def _message_sizes(self) -> list[int]:
        if self._sizes is None:
            self._sizes = list(map(_size_of, self._messages))
        return self._sizes


def _size_of(message: Message) -> int:
    return message.nbytes if isinstance(message, Buffers) else len(message)


def _extra_weight_of(message: Message) -> int:
    if isinstance(message, Buffers):
        return _BUFFERS_WEIGHT + _CHUNK_WEIGHT * len(message)
    return 0


def _chain(messages: list[Message]) -> Buffers:
    """Return one queue of the chunks of all of them."""
    chain = Buffers()
    for message in messages:
        if isinstance(message, Buffers):
            chunks = list(message)
            chain.extend(chunks)
            # The chain has views of its own by now.
            release(chunks)
            message.clear()
        else:
            chain.append(message)
    return chain
