"""The memory that sockets take turns with.

A socket that waits holds no datagrams, and needs no memory for any. So it has
an arena from when something came until all of that is handed out, and
thousands of idle ones share what the busy ones need. The one that was given
back last is taken: it is in the cache. A few keep their pages, of which a
flood may have touched 4 MiB each; the others are little more than columns.
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

# How many arenas of a shape keep their pages while nobody uses them, and how
# many are kept at all: to make one takes 20 us, to touch its pages anew 5.
# More than a few are out at once only where so many sockets have more than was
# asked for, or lend runs.
MAX_WARM = 8
MAX_SPARES = 256
# How many senders all sockets of a kind remember; peers have a say in it.
MAX_ADDRESSES = 16384


class ReceiveMemory:
    """An arena, and what takes datagrams out of it.

    Args:
      arena: As above.
      addresses: What decodes a sender, once.

    Attributes:
      arena, addresses: As above.
      filling: The arena's.
      take: ``datagram_lists.take`` of the core that runs.
      take_messages: The same with metadata, where C is there.
    """

    __slots__ = ("addresses", "arena", "filling", "take", "take_messages")

    def __init__(self, arena: Arena, addresses: AddressCache) -> None:
        self.arena: Arena = arena
        self.filling: array[int] = arena.filling
        self.addresses: AddressCache = addresses
        self.take: Callable[[int], list[tuple[bytes, Address]]]
        self.take = taker(arena, addresses)
        self.take_messages: TakeMessages | None
        self.take_messages = message_taker(arena, addresses)


class Spares(deque[ReceiveMemory]):
    """Memory of one shape that nobody uses.

    ``append`` and ``pop`` are the deque's own, which threads may call at any
    time; what is too much goes. ``append`` is for what was popped just now, or
    where fewer than MAX_WARM are there; else it is ``give_back``.

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
        self._addresses = AddressCache(MAX_ADDRESSES)

    def make(self) -> ReceiveMemory:
        """Return new memory, where there is none to ``pop``."""
        arena = Arena(*self._shape, control_size=self._control_size)
        return ReceiveMemory(arena, self._addresses)

    def give_back(self, memory: ReceiveMemory) -> None:
        """Keep memory for the next socket that receives."""
        if len(self) >= MAX_WARM:
            memory.arena.give_pages_back()
        self.append(memory)


@cache
def spares(slots: int, family: int, control_size: int | None = None) -> Spares:
    """Return those that all sockets of a kind share; see ``Arena``."""
    return Spares(slots, family, control_size=control_size)
