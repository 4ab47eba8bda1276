"""Handing out what an arena was filled with.

With UDP_GRO (udp(7)) a slot may hold a train of datagrams of one size, so a
call can bring more than was asked for; the rest stays in the arena, and the
kernel is not asked again before all of it is handed out. Then the arena goes
back to where all sockets take theirs from (``_core/receive_memory.py``).

Nothing here loops over datagrams without metadata: what cuts them up is
``_core/datagram_lists.py``.

Sans-IO.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NoReturn

from triobatch._core.arena import MESSAGES, NEXT, OFFSET
from triobatch._core.receive_memory import MAX_WARM
from triobatch._datagrams.errors import TruncatedDatagramError
from triobatch._datagrams.run import Loan, Run

if TYPE_CHECKING:
    from triobatch._core.receive_memory import ReceiveMemory, Spares
    from triobatch._wire.addresses import Address


class Inbox:
    """The datagrams of one filling of an arena, handed out in order.

    Args:
      spares: Where memory is taken from, and given back to.

    Attributes:
      spares: As above.
      memory: Where datagrams are that were not handed out; None if all were.
      truncated: How many were cut.
      run_size, run_count: Bytes and datagrams of the first of the last runs,
        which is what the next are reckoned to be.
      loan: What runs are views of; see ``run``.
    """

    __slots__ = (
        "_lent",
        "loan",
        "memory",
        "run_count",
        "run_size",
        "spares",
        "truncated",
    )

    def __init__(self, spares: Spares) -> None:
        self.spares: Spares = spares
        self.memory: ReceiveMemory | None = None
        self.truncated: int = 0
        self.run_size: int = 1200
        self.run_count: int = 1
        self.loan: Loan | None = None
        # What it is a loan of.
        self._lent: ReceiveMemory | None = None

    def take(self, limit: int) -> list[tuple[bytes, Address]]:
        """Return up to ``limit`` datagrams and their senders.

        Raises:
          TruncatedDatagramError: the first one left was cut. Those behind it
            are handed out by the next call.
        """
        memory = self.memory
        assert memory is not None
        taken = memory.take(limit)
        filling = memory.filling
        if filling[NEXT] == filling[MESSAGES]:
            # As `_give_back`, without its frame.
            self.memory = None
            if self.loan is not None:
                self.end_loan()
            elif len(self.spares) < MAX_WARM:
                self.spares.append(memory)
            else:
                self.spares.give_back(memory)
        elif not taken:
            self._raise_truncation()
        return taken

    def take_runs(self, limit: int, lent: list[memoryview]) -> list[Run]:
        """Return the next messages where they lie, uncut.

        Args:
          limit: Bytes, at most, of all but the first.
          lent: Gets their views.

        Raises:
          TruncatedDatagramError: as ``take``.
        """
        memory = self.memory
        assert memory is not None
        arena, addresses = memory.arena, memory.addresses
        if self.loan is None:
            self.loan = Loan(arena.memory)
            self._lent = memory
        lend = self.loan.lend
        filling = arena.filling
        sizes, segment_sizes = arena.sizes, arena.segment_sizes
        taken: list[Run] = []
        last, address = None, None
        for slot in range(filling[NEXT], filling[MESSAGES]):
            if arena.is_truncated(slot):
                if not taken:
                    self._raise_truncation()
                break
            # The rest of it, where a part was handed out as datagrams.
            size = sizes[slot] - filling[OFFSET]
            if taken and size > limit:
                break
            limit -= size
            name = arena.name(slot)
            if name != last:
                # Trains in a row are one sender's.
                last, address = name, addresses[name]
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
        if filling[NEXT] == filling[MESSAGES]:
            # Lent, so that it is given back by `reclaim`.
            self.memory = None
        return taken

    def reclaim(self) -> None:
        """Give back memory that was lent, and is used up.

        What somebody still looks at is his.
        """
        loan, lent = self.loan, self._lent
        assert loan is not None
        assert lent is not None
        # First of all: what comes between, as a signal's exception, must not
        # have it given back twice, to two sockets. One that has come before
        # may have left it here, used up.
        self.loan = self._lent = self.memory = None
        if loan.end():
            self.spares.give_back(lent)

    def end_loan(self) -> None:
        """Give back memory that was lent, if it is used up and nobody looks.

        Else ``reclaim`` will ask again, when something is received.
        """
        loan, lent = self.loan, self._lent
        if self.memory is None and loan is not None and loan.end():
            assert lent is not None
            self.loan = self._lent = None
            self.spares.give_back(lent)

    def close(self) -> None:
        """Give back what nobody can receive any more."""
        memory = self.memory
        self.memory = None
        if memory is not None:
            memory.filling[NEXT] = memory.filling[MESSAGES]
            if self.loan is None:
                self.spares.give_back(memory)
        self.end_loan()

    def _give_back(self) -> None:
        """Let go of memory that is used up."""
        memory = self.memory
        if memory is not None and not memory.arena.left:
            self.memory = None
            if self.loan is None:
                self.spares.give_back(memory)
            else:
                self.end_loan()

    def _raise_truncation(self) -> NoReturn:
        error = self._truncation()
        self._give_back()
        raise error

    def _truncation(self) -> TruncatedDatagramError:
        """Take out the next message, which was cut."""
        assert self.memory is not None
        arena = self.memory.arena
        slot = arena.filling[NEXT]
        start = slot * arena.slot_size
        size = arena.sizes[slot]
        payload = arena.memory[start : start + min(size, arena.slot_size)]
        address = self.memory.addresses[arena.name(slot)]
        error = TruncatedDatagramError(payload, address, size)
        # What fails above, as for want of memory, has taken nothing.
        arena.filling[NEXT] += 1
        self.truncated += 1
        return error
