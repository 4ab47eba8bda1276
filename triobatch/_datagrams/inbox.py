"""Handing out what an arena was filled with.

With UDP_GRO (udp(7)) a slot may hold a train of datagrams of one size, so a
call can bring more than was asked for; the rest stays in the arena, and the
kernel is not asked again before all of it is handed out.

Nothing here loops over datagrams without metadata: what cuts them up is
``_core/datagram_lists.py``.

Sans-IO.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

from triobatch._core.arena import MESSAGES, NEXT, OFFSET
from triobatch._core.datagram_lists import taker
from triobatch._datagrams.errors import TruncatedDatagramError
from triobatch._datagrams.run import Loan, Run
from triobatch._wire.addresses import AddressCache

if TYPE_CHECKING:
    from collections.abc import Callable

    from triobatch._core.arena import Arena
    from triobatch._wire.addresses import Address

    Take: TypeAlias = Callable[[int], list[tuple[bytes, Address]]]


class Inbox:
    """The datagrams of one filling of the arena, handed out in order.

    Args:
      arena: Where they are.

    Attributes:
      arena: Where they are now; another one after ``reclaim``, perhaps.
      truncated: How many were cut.
      run_size, run_count: Bytes and datagrams of the first of the last runs,
        which is what the next are reckoned to be.
      loan: What runs are views of; see ``run``.
    """

    def __init__(self, arena: Arena) -> None:
        self.arena = arena
        self.truncated = 0
        self._addresses = AddressCache()
        self._take: Take | None = None
        self.run_size, self.run_count = 1200, 1
        self.loan: Loan | None = None

    def take(self, limit: int) -> list[tuple[bytes, Address]]:
        """Return up to ``limit`` datagrams and their senders.

        Raises:
          TruncatedDatagramError: the first one left was cut. Those behind it
            are handed out by the next call.
        """
        if self._take is None:
            self._take = taker(self.arena, self._addresses)
        taken = self._take(limit)
        if not taken and self.arena.left:
            raise self._truncation()
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
        filling = arena.filling
        sizes, segment_sizes = arena.sizes, arena.segment_sizes
        taken: list[Run] = []
        last, address = None, None
        for slot in range(filling[NEXT], filling[MESSAGES]):
            if arena.is_truncated(slot):
                if not taken:
                    raise self._truncation()
                break
            # The rest of it, where a part was handed out as datagrams.
            size = sizes[slot] - filling[OFFSET]
            if taken and size > limit:
                break
            limit -= size
            name = arena.name(slot)
            if name != last:
                # Trains in a row are one sender's.
                last, address = name, self._addresses[name]
            segment_size = segment_sizes[slot] or size
            taken.append(
                lend(
                    slot * arena.slot_size + filling[OFFSET],
                    size,
                    min(size, segment_size),
                    address,
                    lent,
                )
            )
            filling[NEXT] += 1
            filling[OFFSET] = 0
        self.run_size, self.run_count = len(taken[0].data), taken[0].count
        return taken

    def reclaim(self) -> None:
        """Make sure that nobody looks at the memory, which is used up."""
        assert self.loan is not None
        if not self.loan.end():
            self.arena = self.arena.another()
            self._take = None
        self.loan = None

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
