"""Cutting up what an arena was filled with.

With UDP_GRO (udp(7)) a slot may hold a train of datagrams of one size, so a
call can bring more than was asked for; the rest stays in the arena, and the
kernel is not asked again before all of it is handed out.

Nothing here loops over datagrams in the common cases. A train is cut by the C
core's extension, and otherwise by ``struct``, as is a row of slots that hold
equal sizes: 45 ns a datagram where slicing takes 110. Equal names are found
by comparing them at once.

Sans-IO.
"""

from __future__ import annotations

import struct
from functools import lru_cache
from itertools import repeat
from typing import TYPE_CHECKING

from triobatch._core.arena import MSG_TRUNC, Arena
from triobatch._datagrams.errors import TruncatedDatagramError
from triobatch._datagrams.run import Loan, Run
from triobatch._wire.addresses import Address, AddressCache

if TYPE_CHECKING:
    from collections.abc import Iterable


class Inbox:
    """The datagrams of one filling of the arena, handed out in order."""

    def __init__(self, arena: Arena) -> None:
        self.arena = arena
        self.truncated = 0
        self._addresses = AddressCache()
        self._count = 0
        self._next = 0
        # Bytes of the train in slot `_next` that are handed out already.
        self._offset = 0
        # Whether any message was cut.
        self._cut = False
        # Whether every message is one whole datagram.
        self._simple = True
        # The first of the last runs: what the next are reckoned to be.
        self.run_size, self.run_count = 1200, 1
        # What runs are views of; see `run`.
        self.loan: Loan | None = None

    def __len__(self) -> int:
        """Return the messages, not the datagrams, that are not used up."""
        return self._count - self._next

    def fill(self, count: int) -> int:
        """Note that slots 0 to ``count - 1`` were filled.

        Returns:
          The datagrams in them.
        """
        arena = self.arena
        self._count, self._next, self._offset = count, 0, 0
        if count == 1 and not arena.segment_sizes[0]:
            self._cut = self._is_cut(0)
            self._simple = not self._cut
            return 1
        segment_sizes = arena.segment_sizes[:count]
        trains = any(segment_sizes)
        odd = any(arena.flags[:count])
        odd = odd or max(arena.sizes[:count]) > arena.slot_size
        self._cut = odd and any(map(self._is_cut, range(count)))
        self._simple = not trains and not self._cut
        if not trains:
            return count
        return sum(
            -(-size // segment_size) if size and segment_size else 1
            for size, segment_size in zip(
                arena.sizes, segment_sizes, strict=False
            )
        )

    def take(self, limit: int) -> list[tuple[bytes, Address]]:
        """Return up to ``limit`` datagrams and their senders.

        Raises:
          TruncatedDatagramError: the first one left was cut. Those behind it
            are handed out by the next call.
        """
        if self._simple:
            count = min(limit, len(self))
            if count == 1:
                return [self._take_one()]
            return self._take_whole(count)
        taken: list[tuple[bytes, Address]] = []
        while len(self) and len(taken) < limit:
            slot = self._next
            if self._is_cut(slot):
                if not taken:
                    self._next += 1
                    raise self._truncation(slot)
                break
            self._take_from_train(taken, limit)
        return taken

    def take_runs(self, limit: int, lent: list[memoryview]) -> list[Run]:
        """Return the next messages where they lie, uncut.

        Args:
          limit: Bytes, at most, of all but the first.
          lent: Gets their views.

        Raises:
          TruncatedDatagramError: as ``take``.
        """
        arena = self.arena
        if self.loan is None:
            self.loan = Loan(arena.memory)
        lend = self.loan.lend
        sizes, segment_sizes = arena.sizes, arena.segment_sizes
        taken: list[Run] = []
        last, address = None, None
        for slot in range(self._next, self._count):
            if self._cut and self._is_cut(slot):
                if not taken:
                    self._next += 1
                    raise self._truncation(slot)
                break
            # The rest of it, where a part was handed out as datagrams.
            size = sizes[slot] - self._offset
            if taken and size > limit:
                break
            limit -= size
            start = slot * arena.name_size
            name = arena.names[start : start + arena.name_sizes[slot]]
            if name != last:
                # Trains in a row are one sender's.
                last, address = name, self.address(slot)
            segment_size = segment_sizes[slot] or size
            taken.append(
                lend(
                    slot * arena.slot_size + self._offset,
                    size,
                    min(size, segment_size),
                    address,
                    lent,
                )
            )
            self._next += 1
            self._offset = 0
        self.run_size, self.run_count = len(taken[0].data), taken[0].count
        return taken

    def reclaim(self) -> None:
        """Make sure that nobody looks at the memory, which is used up."""
        assert self.loan is not None
        if not self.loan.end():
            self.arena = self.arena.another()
        self.loan = None

    def _is_cut(self, slot: int) -> bool:
        arena = self.arena
        # Not MSG_CTRUNC: where the control messages did not fit, the datagram
        # is whole. Nor is the segment size missing then: the kernel puts it
        # behind what all sockets have, which fits, and before what IP has
        # (udp_recvmsg in net/ipv4/udp.c).
        return arena.sizes[slot] > arena.slot_size or bool(
            arena.flags[slot] & MSG_TRUNC
        )

    def _truncation(self, slot: int) -> TruncatedDatagramError:
        arena = self.arena
        self.truncated += 1
        start = slot * arena.slot_size
        size = arena.sizes[slot]
        payload = arena.memory[start : start + min(size, arena.slot_size)]
        return TruncatedDatagramError(payload, self.address(slot), size)

    def _take_one(self) -> tuple[bytes, Address]:
        # The rule at low load: slicing columns costs 6 us more.
        arena = self.arena
        slot = self._next
        self._next += 1
        start = slot * arena.slot_size
        payload = arena.memory[start : start + arena.sizes[slot]]
        return payload, self.address(slot)

    def _take_whole(self, count: int) -> list[tuple[bytes, Address]]:
        return list(zip(*self._take_columns(count), strict=False))

    def _take_columns(
        self, count: int
    ) -> tuple[Iterable[bytes], Iterable[Address]]:
        """Return payloads, and senders, of which there may be more."""
        first, last = self._next, self._next + count
        self._next = last
        arena = self.arena
        sizes = arena.sizes[first:last]
        start = first * arena.slot_size
        payloads: Iterable[bytes]
        if count > 1 and sizes.count(sizes[0]) == count:
            row = row_of(sizes[0], arena.slot_size - sizes[0], count)
            payloads = row.unpack_from(arena.memory, start)
        else:
            starts = range(start, last * arena.slot_size, arena.slot_size)
            memory = arena.memory
            payloads = [
                memory[start : start + size]
                for start, size in zip(starts, sizes, strict=True)
            ]
        return payloads, self._senders(first, last)

    def _senders(self, first: int, last: int) -> Iterable[Address]:
        arena = self.arena
        count = last - first
        name_size = arena.name_size
        if arena.name_sizes[first:last].count(name_size) != count:
            return map(self.address, range(first, last))
        names = bytes(arena.names[first * name_size : last * name_size])
        one = names[:name_size]
        if names == one * count:
            return repeat(self._addresses[one], count)
        each = row_of(name_size, 0, count).unpack(names)
        return map(self._addresses.__getitem__, each)

    def address(self, slot: int) -> Address:
        """Return the sender of the message in ``slot``."""
        arena = self.arena
        start = slot * arena.name_size
        # The kernel reports the size before it was cut (recvmsg(2)).
        size = min(arena.name_sizes[slot], arena.name_size)
        return self._addresses[bytes(arena.names[start : start + size])]

    def _take_from_train(
        self, taken: list[tuple[bytes, Address]], limit: int
    ) -> None:
        """Add datagrams of the next slot, up to ``limit`` in all."""
        arena = self.arena
        slot = self._next
        size = arena.sizes[slot]
        sender = self.address(slot)
        segment_size = arena.segment_sizes[slot] or size
        start = slot * arena.slot_size + self._offset
        rest = size - self._offset
        room = limit - len(taken)
        whole = min(room, rest // segment_size) if size else 0
        if arena.cut is not None:
            arena.cut(taken, start, whole, segment_size, sender)
        else:
            row = row_of(segment_size, 0, whole)
            pieces = row.unpack_from(arena.memory, start)
            taken += zip(pieces, repeat(sender))
        rest -= whole * segment_size
        if whole < room:
            # The last of a train may be shorter, and a datagram be empty.
            start += whole * segment_size
            if rest or not size:
                taken.append((arena.memory[start : start + rest], sender))
            rest = 0
        if rest:
            self._offset = size - rest
        else:
            self._next += 1
            self._offset = 0


@lru_cache(maxsize=256)
def row_of(size: int, gap: int, count: int) -> struct.Struct:
    """Return what cuts ``count`` pieces out of a row of them."""
    return struct.Struct((f"{size}s{gap}x" if gap else f"{size}s") * count)
