"""The memory that sockets take turns with.

A socket that waits holds no datagrams, and needs no memory for any. So it has
an arena from when something came until all of that is handed out, and
thousands of idle ones share what the busy ones need. The one that was given
back last is taken: it is in the cache.
"""

from __future__ import annotations

from collections import deque
from functools import cache
from typing import TYPE_CHECKING

from triobatch._core.arena import SLOT_SIZE, Arena
from triobatch._core.datagram_lists import message_taker, taker
from triobatch._wire.addresses import AddressCache

if TYPE_CHECKING:
    from array import array
    from collections.abc import Callable

    from triobatch._core.datagram_lists import TakeMessages
    from triobatch._wire.addresses import Address

# How many arenas of a shape are kept. More are out at once only where so many
# sockets have more than was asked for, or lend runs.
MAX_SPARES = 64


class ReceiveMemory:
    """An arena, and what takes datagrams out of it.

    Args:
      arena: As above.

    Attributes:
      arena: As above.
      filling: The arena's.
      addresses: What decodes a sender, once.
      take: ``datagram_lists.take`` of the core that runs.
      take_messages: The same with metadata, where C is there.
    """

    __slots__ = ("addresses", "arena", "filling", "take", "take_messages")

    def __init__(self, arena: Arena) -> None:
        self.arena: Arena = arena
        self.filling: array[int] = arena.filling
        self.addresses: AddressCache = AddressCache()
        self.take: Callable[[int], list[tuple[bytes, Address]]]
        self.take = taker(arena, self.addresses)
        self.take_messages: TakeMessages | None
        self.take_messages = message_taker(arena, self.addresses)


class Spares(deque[ReceiveMemory]):
    """Memory of one shape that nobody uses.

    ``append`` and ``pop`` are the deque's own, which threads may call at any
    time; what is too much goes.

    Args:
      slots, family, slot_size, control_size: As for ``Arena``.
    """

    def __init__(
        self,
        slots: int,
        family: int,
        slot_size: int = SLOT_SIZE,
        control_size: int | None = None,
    ) -> None:
        super().__init__(maxlen=MAX_SPARES)
        self._shape = slots, family, slot_size
        self._control_size = control_size

    def make(self) -> ReceiveMemory:
        """Return new memory, where there is none to ``pop``."""
        return ReceiveMemory(
            Arena(*self._shape, control_size=self._control_size)
        )


@cache
def spares(slots: int, family: int, control_size: int | None = None) -> Spares:
    """Return those that all sockets of a kind share; see ``Arena``."""
    return Spares(slots, family, control_size=control_size)
