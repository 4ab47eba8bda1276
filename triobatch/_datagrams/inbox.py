"""Handing out what an arena was filled with.

With UDP_GRO (udp(7)) a slot may hold a train of datagrams of one size, so a
call can bring more than was asked for; the rest stays in the arena, and the
kernel is not asked again before all of it is handed out.

Nothing here loops over datagrams without metadata: what cuts them up is
``_core/datagram_lists.py``.

Sans-IO.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from triobatch._core.arena import NEXT
from triobatch._core.datagram_lists import take_from_slot, taker
from triobatch._datagrams.errors import TruncatedDatagramError
from triobatch._wire.addresses import AddressCache
from triobatch._wire.metadata import Message, decode_metadata

if TYPE_CHECKING:
    from triobatch._core.arena import Arena
    from triobatch._wire.addresses import Address


class Inbox:
    """The datagrams of one filling of the arena, handed out in order.

    Args:
      arena: Where they are.
    """

    def __init__(self, arena: Arena) -> None:
        self.arena = arena
        self.truncated = 0
        self._addresses = AddressCache()
        self._take = taker(arena, self._addresses)

    def take(self, limit: int) -> list[tuple[bytes, Address]]:
        """Return up to ``limit`` datagrams and their senders.

        Raises:
          TruncatedDatagramError: the first one left was cut. Those behind it
            are handed out by the next call.
        """
        taken = self._take(limit)
        if not taken and self.arena.left:
            raise self._truncation()
        return taken

    def take_messages(self, limit: int) -> list[Message]:
        """Return up to ``limit`` datagrams with their metadata.

        Those of one train share it. A cut one is marked as truncated.
        """
        arena = self.arena
        taken: list[Message] = []
        while arena.left and len(taken) < limit:
            slot = arena.filling[NEXT]
            start = slot * arena.control_size
            metadata, timestamp = decode_metadata(
                arena.control[start : start + arena.control_sizes[slot]]
            )
            if arena.is_truncated(slot):
                cut = self._truncation()
                taken.append(
                    Message(
                        cut.payload,
                        cut.address,
                        metadata,
                        timestamp,
                        True,
                        cut.size,
                    )
                )
                continue
            pairs = take_from_slot(arena, self._addresses, limit - len(taken))
            taken += [
                Message(
                    payload, sender, metadata, timestamp, False, len(payload)
                )
                for payload, sender in pairs
            ]
        return taken

    def _truncation(self) -> TruncatedDatagramError:
        """Take out the next message, which was cut."""
        arena = self.arena
        slot = arena.filling[NEXT]
        arena.filling[NEXT] += 1
        self.truncated += 1
        start = slot * arena.slot_size
        size = arena.sizes[slot]
        payload = arena.memory[start : start + min(size, arena.slot_size)]
        address = self._addresses[arena.name(slot)]
        return TruncatedDatagramError(payload, address, size)
