"""Messages that wait to be sent together: their order, their room, their ends.

Sans-IO: no event loop, no stream. The tokens are whatever the caller knows
those who wait by.

What a message costs
--------------------
A sender under load gets a thousand messages between two system calls, so
``put`` is all that is done for one of them: it appends to a list and adds to a
sum. Everything else that one may want to know is worked out a batch at a time.
Where messages end matters only when a batch stops part-way, so nobody keeps
account of it until then. A queue only grows between two batches, so its peak
is found when one is done. The oldest message of a batch is its first, so one
clock reading a batch gives the longest wait.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING, TypeAlias, cast

from triobatch._buffers import Buffers
from triobatch._chunks import locate
from triobatch._views import release

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable

# A Buffers is one message of many chunks, and is nobody else's.
Message: TypeAlias = bytes | Buffers


class Batch:
    """Messages that leave together, and how far they have got.

    Args:
      messages: At least one. They are the batch's from now on.
      gathered: Whether one of them may be a ``Buffers``.
      since: When the first of them was queued, in seconds.

    Attributes:
      buffers: What is left of them, consumed as it is sent.
      count: How many messages there were.
      nbytes: How many bytes there were.
    """

    __slots__ = ("_messages", "_sizes", "buffers", "count", "nbytes", "since")

    def __init__(
        self, messages: list[Message], gathered: bool, since: float
    ) -> None:
        self.count = len(messages)
        self.since = since
        self._messages = messages
        self._sizes: list[int] | None = None
        if gathered:
            self._sizes = list(map(_size, messages))
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
        return Buffers(self.buffers._front(self.boundary()[1]))

    def unsent(self) -> tuple[bytes, list[bytes]]:
        """Consume what is left.

        Returns:
          The rest of a message that is part-way out, and the messages of
          which nothing was sent.
        """
        index, part = self.boundary()
        read = self.buffers.read
        return read(part), [
            read(size) for size in self._message_sizes()[index:]
        ]

    def _message_sizes(self) -> list[int]:
        if self._sizes is None:
            self._sizes = list(map(_size, self._messages))
        return self._sizes


class Outbox:
    """A queue of messages, with those who wait to add to it, or for its end.

    Args:
      max_buffered: Bytes. A message is let in while no more than this is
        buffered, so there is never more than this and one message.
      clock: Returns the time, in seconds.

    Attributes:
      nbytes: Bytes in the queue, and in batches that are not done.
      queued: The messages that no batch has yet.
      closed: Whether nothing more is let in.
      batches: How many batches are done.
      messages: How many messages they had.
      longest_wait: Seconds from when a message was queued to when its batch
        was done, at most. What a limited batch leaves in the queue counts
        from the first message of that batch.
    """

    def __init__(self, max_buffered: int, clock: Callable[[], float]) -> None:
        self.nbytes = 0
        self.queued: list[Message] = []
        self.batches = 0
        self.messages = 0
        self.longest_wait = 0.0
        self._max_buffered = max_buffered
        self._clock = clock
        self.closed = False
        self._gathered = False
        self._peak = 0
        # When the oldest message in the queue was put there.
        self._since = 0.0
        # Bytes of all the batches that are done. A flush is over when it has
        # come to what it was, with all that was buffered, at the call.
        self._done = 0
        self._waiting: OrderedDict[Hashable, Message] = OrderedDict()
        self._flushing: OrderedDict[Hashable, int] = OrderedDict()
        # Those that waited in vain, until they have taken notice.
        self._refused: dict[Hashable, None] = {}

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
        if self.nbytes > self._max_buffered or self._waiting or self.closed:
            return False
        if type(message) is bytes:
            size = len(message)
        else:
            size = _size(message)
            self._gathered = True
        if size:
            if not self.queued:
                self._since = self._clock()
            self.queued.append(message)
            self.nbytes += size
        return True

    def wait(self, token: Hashable, message: Message) -> None:
        """Queue a message as soon as there is room, in the order of calls."""
        self._waiting[token] = message

    def wait_flushed(self, token: Hashable) -> None:
        """Wait until all that is buffered now is done."""
        self._flushing[token] = self._done + self.nbytes

    def withdraw(self, token: Hashable) -> bool:
        """Wait no longer; return False if what was waited for has happened."""
        for waiters in (self._waiting, self._flushing, self._refused):
            if token in waiters:
                del waiters[token]
                return True
        return False

    def close(self) -> list[Hashable]:
        """Let nothing more in.

        Returns:
          The tokens that waited for room, and do so in vain.
        """
        self.closed = True
        return self._refuse(self._waiting)

    def abandon(self) -> list[Hashable]:
        """Send nothing more.

        Returns:
          The tokens of all that wait, in vain.
        """
        return [*self.close(), *self._refuse(self._flushing)]

    def take(self, max_size: int | None = None) -> Batch:
        """Take the messages at the front, or all.

        Args:
          max_size: Bytes. The messages that fit in it whole are taken, and
            the first in any case.
        """
        messages = self.queued
        count = len(messages)
        if max_size is not None and self.nbytes > max_size:
            count = self._count_within(max_size)
        batch = Batch(messages[:count], self._gathered, self._since)
        # A new list: to empty this one would cost the same.
        self.queued = messages[count:]
        if not self.queued:
            self._gathered = False
        return batch

    def done(self, batch: Batch) -> list[Hashable]:
        """Account for a batch that was sent whole.

        Returns:
          The tokens of those who need not wait any longer.
        """
        self._peak = self.peak
        self.batches += 1
        self.messages += batch.count
        self.longest_wait = max(self.longest_wait, self._clock() - batch.since)
        self.nbytes -= batch.nbytes
        self._done += batch.nbytes
        freed: list[Hashable] = []
        flushing = self._flushing
        while flushing and next(iter(flushing.values())) <= self._done:
            freed.append(flushing.popitem(last=False)[0])
        if self._waiting:
            freed += self._let_in()
        return freed

    def _refuse(
        self,
        waiters: OrderedDict[Hashable, Message] | OrderedDict[Hashable, int],
    ) -> list[Hashable]:
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
        return let_in

    def _count_within(self, size: int) -> int:
        if not self._gathered:
            queued = cast("list[bytes | memoryview]", self.queued)
            return max(1, locate(queued, 0, 0, size)[0])
        count = 0
        for message in self.queued:
            size -= _size(message)
            if size < 0:
                break
            count += 1
        return max(1, count)


def _size(message: Message) -> int:
    return message.nbytes if isinstance(message, Buffers) else len(message)


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
