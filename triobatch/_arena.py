"""The memory that datagrams are received into, and how it is cut up.

One arena serves a socket for its life: allocated once, filled by one system
call at a time, copied out as ``bytes``. With UDP_GRO (udp(7)) a slot may
hold a train of datagrams of one size, so a call can bring more than was
asked for; the rest stays in the arena, and the kernel is not asked again
before all of it is handed out.

Nothing here loops over datagrams in the common cases. ``struct`` cuts a
train, or a row of slots that hold equal sizes, at 45 ns a datagram where
slicing takes 130, and equal names are found by comparing them at once.

Sans-IO: a core fills the slots and the columns (core.h, ``tb_arena``).
"""

import mmap
import struct
import sys
from array import array
from collections.abc import Iterable
from functools import lru_cache
from itertools import repeat
from typing import Any

from triobatch._addresses import (
    AF_INET,
    AF_INET6,
    SOCKADDR_IN6_SIZE,
    SOCKADDR_IN_SIZE,
    SOCKADDR_UN_SIZE,
    Address,
    AddressCache,
)
from triobatch._datagram_errors import TruncatedDatagramError
from triobatch._metadata import Message, decode_metadata

MSG_CTRUNC = 0x08
MSG_TRUNC = 0x20

# Any UDP datagram and any train fits (a 16-bit length); what a smaller slot
# cuts off is lost.
SLOT_SIZE = 65536
# Enough for every control message that the metadata asks for (136 bytes for
# IPv4, 216 on a dual-stack socket) and the segment size.
CONTROL_SIZE = 256


class Arena:
    """Slots for received messages, and a column for each of their facts.

    4 MiB of address space at the usual 64 slots; the kernel backs only the
    pages that a datagram has reached.

    Args:
      slots: Messages that one call may bring.
      family: The socket's, which sets the room for a name. A Unix socket
        gets no room for control messages: file descriptors that a peer
        passes are closed by the kernel, and not left open here.
      slot_size: Bytes a message.
      memory: A writable buffer to use for the slots. Without it one is made,
        which an ``Inbox`` can be put on.
    """

    def __init__(
        self,
        slots: int,
        family: int,
        slot_size: int = SLOT_SIZE,
        memory: Any = None,
    ) -> None:
        internet = family in {AF_INET, AF_INET6}
        self.slots = slots
        self.slot_size = slot_size
        self.name_size = {
            AF_INET: SOCKADDR_IN_SIZE,
            AF_INET6: SOCKADDR_IN6_SIZE,
        }.get(family, SOCKADDR_UN_SIZE)
        self.control_size = CONTROL_SIZE if internet else 0
        if memory is None:
            memory = _private_memory(slots * slot_size)
        self.memory: Any = memory
        self.names = bytearray(slots * self.name_size)
        self.control: Any = bytearray()
        if internet:
            self.control = _private_memory(slots * CONTROL_SIZE)
        self.sizes = array("I", bytes(4 * slots))
        self.flags = array("I", bytes(4 * slots))
        self.name_sizes = array("I", bytes(4 * slots))
        self.control_sizes = array("I", bytes(4 * slots))
        self.segment_sizes = array("I", bytes(4 * slots))
        # The C core keeps its pointers here.
        self.exports: Any = None


def _private_memory(size: int) -> mmap.mmap:
    """Return zeroed memory whose slices are bytes, and not copies first."""
    if sys.platform == "win32":
        return mmap.mmap(-1, size)
    # Shared is the default: after a fork two processes would receive into
    # the same slots.
    return mmap.mmap(-1, size, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)


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
        # Whether every message is one whole datagram.
        self._simple = True

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
            self._simple = not self._is_cut(0)
            return 1
        segment_sizes = arena.segment_sizes[:count]
        trains = any(segment_sizes)
        odd = any(arena.flags[:count])
        odd = odd or max(arena.sizes[:count]) > arena.slot_size
        cut = odd and any(map(self._is_cut, range(count)))
        self._simple = not trains and not cut
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
            payloads = self._take_from_train(limit - len(taken))
            taken += zip(payloads, repeat(self.address(slot)))
        return taken

    def take_messages(self, limit: int) -> list[Message]:
        """Return up to ``limit`` datagrams with their metadata.

        Those of one train share it. A cut one is marked as truncated.
        """
        arena = self.arena
        taken: list[Message] = []
        while len(self) and len(taken) < limit:
            slot = self._next
            address = self.address(slot)
            start = slot * arena.control_size
            metadata, timestamp = decode_metadata(
                arena.control[start : start + arena.control_sizes[slot]]
            )
            if self._is_cut(slot):
                self._next += 1
                cut = self._truncation(slot)
                taken.append(
                    Message(
                        cut.payload,
                        address,
                        metadata,
                        timestamp,
                        True,
                        cut.size,
                    )
                )
                continue
            taken += [
                Message(
                    payload, address, metadata, timestamp, False, len(payload)
                )
                for payload in self._take_from_train(limit - len(taken))
            ]
        return taken

    def _is_cut(self, slot: int) -> bool:
        arena = self.arena
        if arena.sizes[slot] > arena.slot_size:
            return True
        flags = arena.flags[slot]
        # Where the control messages did not fit, the segment size may be
        # what is missing, and a train would pass for one datagram.
        return bool(flags & MSG_TRUNC) or bool(
            flags & MSG_CTRUNC
            and arena.control_size
            and not arena.segment_sizes[slot]
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
        first, last = self._next, self._next + count
        self._next = last
        arena = self.arena
        sizes = arena.sizes[first:last]
        start = first * arena.slot_size
        payloads: Iterable[bytes]
        if count > 1 and sizes.count(sizes[0]) == count:
            row = _row(sizes[0], arena.slot_size - sizes[0], count)
            payloads = row.unpack_from(arena.memory, start)
        else:
            starts = range(start, last * arena.slot_size, arena.slot_size)
            memory = arena.memory
            payloads = [
                memory[start : start + size]
                for start, size in zip(starts, sizes, strict=True)
            ]
        return list(zip(payloads, self._senders(first, last), strict=False))

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
        each = _row(name_size, 0, count).unpack(names)
        return map(self._addresses.__getitem__, each)

    def address(self, slot: int) -> Address:
        """Return the sender of the message in ``slot``."""
        arena = self.arena
        start = slot * arena.name_size
        # The kernel reports the size before it was cut (recvmsg(2)).
        size = min(arena.name_sizes[slot], arena.name_size)
        return self._addresses[bytes(arena.names[start : start + size])]

    def _take_from_train(self, limit: int) -> list[bytes]:
        """Return up to ``limit`` datagrams of the next slot."""
        arena = self.arena
        slot = self._next
        size = arena.sizes[slot]
        if not size:
            self._next += 1
            return [b""]
        segment_size = arena.segment_sizes[slot] or size
        start = slot * arena.slot_size + self._offset
        whole = min(limit, (size - self._offset) // segment_size)
        row = _row(segment_size, 0, whole)
        payloads = list(row.unpack_from(arena.memory, start))
        self._offset += whole * segment_size
        rest = size - self._offset
        if len(payloads) < limit and rest:
            start += whole * segment_size
            payloads.append(arena.memory[start : start + rest])
            self._offset = size
        if self._offset == size:
            self._next += 1
            self._offset = 0
        return payloads


@lru_cache(maxsize=256)
def _row(size: int, gap: int, count: int) -> struct.Struct:
    """Return what cuts ``count`` pieces out of a row of them."""
    return struct.Struct((f"{size}s{gap}x" if gap else f"{size}s") * count)
