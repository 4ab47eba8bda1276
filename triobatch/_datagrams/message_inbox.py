"""Datagrams with what the kernel says of them.

It says the same of most datagrams of a filling, and of those that come after
it, so equal control messages are decoded once: 12 us, where a look-up takes
0.1. A timestamp alone is another for each datagram. It comes first
(sock_recv_cmsgs in net/socket.c), and is read apart from the rest.

Sans-IO.
"""

from __future__ import annotations

from functools import partial
from itertools import repeat
from typing import TYPE_CHECKING, cast

from triobatch._core.arena import MESSAGES, NEXT
from triobatch._core.datagram_lists import (
    are_whole,
    columns_of,
    rows_of,
    take_from_slot,
)
from triobatch._datagrams.inbox import Inbox
from triobatch._wire.metadata import (
    STAMP,
    STAMP_HEADER,
    Message,
    Metadata,
    decode_metadata,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from triobatch._core.arena import Arena
    from triobatch._core.receive_memory import ReceiveMemory
    from triobatch._wire.addresses import Address

# How many different control messages are remembered: peers have a say in
# them, by the hop limit, the traffic class and the size of a train.
MAX_CONTROLS = 1024


class MetadataCache(dict[bytes, Metadata]):
    """``decode_metadata``, equal control messages once; bounded.

    Args:
      derive: Makes what is remembered of what was decoded.
    """

    def __init__(self, derive: Callable[[Metadata], Metadata]) -> None:
        super().__init__()
        self._derive = derive
        # Of equal ones, one object: that makes them fast to compare.
        self._one_of: dict[Metadata, Metadata] = {}

    def __missing__(self, control: bytes) -> Metadata:
        decoded, _ = decode_metadata(control)
        derived = self._derive(decoded)
        if len(self) >= MAX_CONTROLS:
            self.clear()
            self._one_of.clear()
        one = self[control] = self._one_of.setdefault(derived, derived)
        return one


class MessageInbox(Inbox):
    """An ``Inbox`` that hands out the metadata too."""

    __slots__ = ()

    def take_messages(
        self, limit: int, known: MetadataCache, *, timestamps: bool = True
    ) -> list[Message]:
        """Return up to ``limit`` datagrams with their metadata.

        Those of one train share it. A cut one is marked as truncated.

        Args:
          limit: How many, at least 1.
          known: What makes metadata of control messages.
          timestamps: Whether these are wanted.
        """
        memory = self.memory
        assert memory is not None
        arena = memory.arena
        take = memory.take_messages or partial(_take_whole, memory)
        taken = take(limit, known, timestamps)
        while len(taken) < limit and arena.left:
            left = limit - len(taken)
            taken += self._take_slot(
                memory, left, known, timestamps=timestamps
            )
            left = limit - len(taken)
            if left and arena.left:
                taken += take(left, known, timestamps)
        self._give_back()
        return taken

    def _take_slot(
        self,
        memory: ReceiveMemory,
        limit: int,
        known: MetadataCache,
        *,
        timestamps: bool,
    ) -> list[Message]:
        """Return up to ``limit`` messages of the next slot."""
        arena = memory.arena
        slot = arena.filling[NEXT]
        controls = _controls(arena, slot, slot + 1)
        if arena.is_truncated(slot):
            cut = self._truncation()
            [message] = _messages(
                [cut.payload],
                [cut.address],
                [cut.size],
                controls,
                known,
                timestamps=timestamps,
            )
            return [message._replace(truncated=True)]
        pairs = take_from_slot(arena, memory.addresses, limit)
        payloads, senders = zip(*pairs, strict=True)
        return _messages(
            payloads,
            senders,
            map(len, payloads),
            [controls[0]] * len(pairs),
            known,
            timestamps=timestamps,
        )

    def take_asked(
        self, limit: int, replies: MetadataCache
    ) -> list[tuple[Metadata, list[tuple[bytes, Address]]]]:
        """Return up to ``limit`` datagrams, by what they are answered with.

        Args:
          limit: How many, at least 1.
          replies: What makes an answer's metadata of control messages.

        Raises:
          TruncatedDatagramError: as ``take``.
        """
        memory = self.memory
        assert memory is not None
        arena = memory.arena
        first = arena.filling[NEXT]
        controls = _controls(arena, first, first + min(limit, arena.left))
        if controls.count(controls[0]) == len(controls):
            # An answer to each message of a train, which `take` cuts short,
            # is the same too.
            return [(replies[controls[0]], self.take(limit))]
        by_reply: dict[Metadata, list[tuple[bytes, Address]]] = {}
        left = limit
        for slot, control in enumerate(controls, first):
            if left <= 0:
                break
            if arena.is_truncated(slot):
                if left == limit:
                    self._raise_truncation()
                break
            pairs = take_from_slot(arena, memory.addresses, left)
            by_reply.setdefault(replies[control], []).extend(pairs)
            left -= len(pairs)
        self._give_back()
        return list(by_reply.items())


def _take_whole(
    memory: ReceiveMemory, limit: int, known: MetadataCache, timestamps: bool
) -> list[Message]:
    """Return the messages of up to ``limit`` slots, if all are whole."""
    arena = memory.arena
    first = arena.filling[NEXT]
    last = min(first + limit, arena.filling[MESSAGES])
    if not are_whole(arena, first, last):
        return []
    payloads, senders = columns_of(arena, memory.addresses, first, last)
    messages = _messages(
        payloads,
        senders,
        arena.sizes[first:last],
        _controls(arena, first, last),
        known,
        timestamps=timestamps,
    )
    arena.filling[NEXT] = last
    return messages


def _controls(arena: Arena, first: int, last: int) -> Sequence[bytes]:
    """Return the control messages of slots."""
    return rows_of(
        arena.control, arena.control_sizes, arena.control_size, first, last
    )


def _messages(
    payloads: Iterable[bytes],
    senders: Iterable[Address],
    sizes: Iterable[int],
    controls: Sequence[bytes],
    known: MetadataCache,
    *,
    timestamps: bool,
) -> list[Message]:
    """Put together whole datagrams and what is said of them."""
    stamps: Iterable[int | None] = repeat(None)
    every: Iterable[Metadata]
    # A socket has none, or one with each.
    if timestamps or controls[0].startswith(STAMP_HEADER):
        stamped = list(map(_split, controls))
        controls = [rest for _, rest in stamped]
        if timestamps:
            stamps = [stamp for stamp, _ in stamped]
    one = controls[0]
    if controls.count(one) == len(controls):
        every = repeat(known[one])
    else:
        every = map(known.__getitem__, controls)
    rows = zip(
        payloads, senders, every, stamps, repeat(False), sizes, strict=False
    )
    # As Message does itself, without a Python frame for each.
    return cast(
        "list[Message]", list(map(tuple.__new__, repeat(Message), rows))
    )


def _split(control: bytes) -> tuple[int | None, bytes]:
    """Return the timestamp, and the other control messages."""
    if control.startswith(STAMP_HEADER):
        *_, seconds, nanoseconds = STAMP.unpack_from(control)
        return seconds * 10**9 + nanoseconds, control[STAMP.size :]
    return decode_metadata(control)[1], control
