"""Datagrams with what the kernel says of them.

It says the same of most datagrams of a filling, and of those that come after
it, so equal control messages are decoded once: 12 us, where a look-up takes
0.1. A timestamp alone is another for each datagram. It comes first
(sock_recv_cmsgs in net/socket.c), and is read apart from the rest.

Sans-IO.
"""

from __future__ import annotations

import struct
from itertools import repeat
from typing import TYPE_CHECKING, cast

from triobatch._datagrams.inbox import Inbox, row_of
from triobatch._wire.control import SOL_SOCKET
from triobatch._wire.metadata import (
    SO_TIMESTAMPNS,
    Message,
    Metadata,
    decode_metadata,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from triobatch._wire.addresses import Address

# struct cmsghdr and struct timespec.
_STAMP = struct.Struct("@Niill")
_STAMP_HEADER = struct.pack("@Nii", _STAMP.size, SOL_SOCKET, SO_TIMESTAMPNS)

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
        if self._simple:
            first = self._next
            payloads, senders = self._take_columns(min(limit, len(self)))
            return _messages(
                payloads,
                senders,
                self.arena.sizes[first : self._next],
                self._controls(first, self._next),
                known,
                timestamps=timestamps,
            )
        taken: list[Message] = []
        while len(self) and len(taken) < limit:
            slot = self._next
            controls = self._controls(slot, slot + 1)
            if self._is_cut(slot):
                self._next += 1
                cut = self._truncation(slot)
                [message] = _messages(
                    [cut.payload],
                    [self.address(slot)],
                    [cut.size],
                    controls,
                    known,
                    timestamps=timestamps,
                )
                taken.append(message._replace(truncated=True))
                continue
            pairs: list[tuple[bytes, Address]] = []
            self._take_from_train(pairs, limit - len(taken))
            payloads, senders = zip(*pairs, strict=True)
            taken += _messages(
                payloads,
                senders,
                map(len, payloads),
                [controls[0]] * len(pairs),
                known,
                timestamps=timestamps,
            )
        return taken

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
        last = self._next + min(limit, len(self))
        controls = self._controls(self._next, last)
        if controls.count(controls[0]) == len(controls):
            # An answer to each message of a train, which `take` cuts short,
            # is the same too.
            return [(replies[controls[0]], self.take(limit))]
        by_reply: dict[Metadata, list[tuple[bytes, Address]]] = {}
        left = limit
        for control in controls:
            if left <= 0:
                break
            slot = self._next
            if self._is_cut(slot):
                if left == limit:
                    self._next += 1
                    raise self._truncation(slot)
                break
            pairs = by_reply.setdefault(replies[control], [])
            before = len(pairs)
            self._take_from_train(pairs, before + left)
            left -= len(pairs) - before
        return list(by_reply.items())

    def _controls(self, first: int, last: int) -> Sequence[bytes]:
        """Return the control messages of slots."""
        arena = self.arena
        sizes = arena.control_sizes[first:last]
        start, count = first * arena.control_size, last - first
        if sizes.count(sizes[0]) == count:
            row = row_of(sizes[0], arena.control_size - sizes[0], count)
            return cast(
                "tuple[bytes, ...]", row.unpack_from(arena.control, start)
            )
        return [
            bytes(arena.control[start : start + size])
            for start, size in zip(
                range(start, last * arena.control_size, arena.control_size),
                sizes,
                strict=True,
            )
        ]


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
    if timestamps or controls[0].startswith(_STAMP_HEADER):
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
    if control.startswith(_STAMP_HEADER):
        *_, seconds, nanoseconds = _STAMP.unpack_from(control)
        return seconds * 10**9 + nanoseconds, control[_STAMP.size :]
    return decode_metadata(control)[1], control
