"""Messages that leave together: where each ends, and what it weighs."""

from __future__ import annotations

from typing import Final, TypeAlias, cast

from triobatch._queues.buffers import Buffers, first_bytes
from triobatch._queues.views import release

# A Buffers is one message of many chunks, and is nobody else's.
Message: TypeAlias = bytes | Buffers

# What a Buffers weighs more than a message that is bytes, and what each of
# its chunks does, which may be a view.
_BUFFERS_WEIGHT: Final = 8
_CHUNK_WEIGHT: Final = 4


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
            self._sizes = list(map(size_of, messages))
            self.weight += sum(map(extra_weight_of, messages))
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
            self._sizes = list(map(size_of, self._messages))
        return self._sizes


def size_of(message: Message) -> int:
    return message.nbytes if isinstance(message, Buffers) else len(message)


def extra_weight_of(message: Message) -> int:
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
