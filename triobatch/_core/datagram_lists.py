"""Lists of datagrams, to and from the memory that a core works on.

With UDP_GRO (udp(7)) a slot of an arena may hold a train of datagrams of one
size. ``taker`` returns what cuts them up. Where the C core runs, the list
extension does that (``_native/datagram_lists.c``), in 60 ns a datagram; here
it is ``struct``, in 85, where slicing takes 110.
"""

from __future__ import annotations

import struct
from functools import lru_cache, partial
from itertools import repeat
from typing import TYPE_CHECKING

from triobatch._core.arena import MESSAGES, NEXT, OFFSET
from triobatch._core.choice import CHUNK_EXTENSION, CORE

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from triobatch._core.arena import Arena
    from triobatch._wire.addresses import Address, AddressCache

__all__ = ["take", "take_from_slot", "taker"]


def take(
    arena: Arena, addresses: AddressCache, limit: int
) -> list[tuple[bytes, Address]]:
    """Return up to ``limit`` datagrams, from where the last call stopped.

    Stops before a truncated one, so there may be none.

    Args:
      arena: Where they are.
      addresses: What decodes a sender, once.
      limit: How many, at least 1.
    """
    filling = arena.filling
    first = filling[NEXT]
    last = min(filling[MESSAGES], first + limit)
    if not any(arena.segment_sizes[first:last]) and not any(
        map(arena.is_truncated, range(first, last))
    ):
        filling[NEXT] = last
        return _whole(arena, addresses, first, last)
    taken: list[tuple[bytes, Address]] = []
    while len(taken) < limit and filling[NEXT] < filling[MESSAGES]:
        if arena.is_truncated(filling[NEXT]):
            break
        taken += take_from_slot(arena, addresses, limit - len(taken))
    return taken


def take_from_slot(
    arena: Arena, addresses: AddressCache, limit: int
) -> list[tuple[bytes, Address]]:
    """Return up to ``limit`` datagrams of the next slot, none truncated."""
    filling = arena.filling
    slot, offset = filling[NEXT], filling[OFFSET]
    size = arena.sizes[slot]
    sender = addresses[arena.name(slot)]
    segment_size = arena.segment_sizes[slot] or size
    start = slot * arena.slot_size + offset
    rest = size - offset
    whole = min(limit, rest // segment_size) if size else 0
    pieces = _row(segment_size, 0, whole).unpack_from(arena.memory, start)
    taken = list(zip(pieces, repeat(sender), strict=False))
    rest -= whole * segment_size
    if whole < limit:
        # The last of a train may be shorter, and a datagram be empty.
        start += whole * segment_size
        if rest or not size:
            taken.append((arena.memory[start : start + rest], sender))
        rest = 0
    filling[OFFSET] = size - rest if rest else 0
    if not rest:
        filling[NEXT] += 1
    return taken


def _whole(
    arena: Arena, addresses: AddressCache, first: int, last: int
) -> list[tuple[bytes, Address]]:
    sizes = arena.sizes[first:last]
    count = last - first
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
    senders = map(addresses.__getitem__, map(arena.name, range(first, last)))
    return list(zip(payloads, senders, strict=True))


@lru_cache(maxsize=256)
def _row(size: int, gap: int, count: int) -> struct.Struct:
    """Return what cuts ``count`` pieces out of a row of them."""
    return struct.Struct((f"{size}s{gap}x" if gap else f"{size}s") * count)


def taker(
    arena: Arena, addresses: AddressCache
) -> Callable[[int], list[tuple[bytes, Address]]]:
    """Return ``take`` of the core that runs, with its first arguments."""
    if CORE == "c" and CHUNK_EXTENSION:
        from triobatch._core._chunks_c import take as take_in_c  # noqa: PLC0415
        from triobatch._core.datagrams_c import export  # noqa: PLC0415

        return partial(take_in_c, export(arena), addresses)
    return partial(take, arena, addresses)
