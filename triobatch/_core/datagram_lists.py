"""Lists of datagrams, to and from the memory that a core works on.

With UDP_GRO (udp(7)) a slot of an arena may hold a train of datagrams of one
size. ``taker`` returns what cuts them up. Where the C core runs, the list
extension does that (``_native/take.c``), in 60 ns a datagram; here
it is ``struct``, in 85, where slicing takes 110.
"""

from __future__ import annotations

import struct
from functools import lru_cache, partial
from itertools import repeat
from typing import TYPE_CHECKING, Any, TypeAlias

from triobatch._core.arena import MESSAGES, MSG_TRUNC, NEXT, OFFSET
from triobatch._core.choice import CHUNK_EXTENSION, CORE

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from triobatch._core.arena import Arena
    from triobatch._wire.addresses import Address, AddressCache
    from triobatch._wire.metadata import Message, Metadata

    # Takes a limit, what makes metadata of control messages, and whether
    # timestamps are wanted.
    TakeMessages: TypeAlias = Callable[
        [int, dict[bytes, Metadata], bool], list[Message]
    ]

__all__ = [
    "are_whole",
    "columns_of",
    "facts",
    "message_taker",
    "rows_of",
    "take",
    "take_from_slot",
    "taker",
    "teller",
]


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
    if are_whole(arena, first, last):
        columns = columns_of(arena, addresses, first, last)
        pairs = list(zip(*columns, strict=False))
        # Not before: there may be no memory for them.
        filling[NEXT] = last
        return pairs
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


def are_whole(arena: Arena, first: int, last: int) -> bool:
    """Whether each message of some slots is one datagram, not truncated."""
    return not any(arena.segment_sizes[first:last]) and not any(
        map(arena.is_truncated, range(first, last))
    )


def columns_of(
    arena: Arena, addresses: AddressCache, first: int, last: int
) -> tuple[Iterable[bytes], Iterable[Address]]:
    """Return payloads, and senders, of which there may be more.

    Args:
      arena: Where they are.
      addresses: What decodes a sender, once.
      first: A slot; from there on all are whole datagrams.
      last: The slot behind them.
    """
    return (
        rows_of(arena.memory, arena.sizes, arena.slot_size, first, last),
        _senders(arena, addresses, first, last),
    )


def rows_of(
    memory: Any, sizes: Sequence[int], room: int, first: int, last: int
) -> Sequence[bytes]:
    """Return what lies in ``room`` bytes of memory a slot, as bytes."""
    sizes = sizes[first:last]
    count = last - first
    start = first * room
    # Without room there is nothing to slice; see `Arena.control`.
    if (count > 1 or not room) and sizes.count(sizes[0]) == count:
        return _row(sizes[0], room - sizes[0], count).unpack_from(
            memory, start
        )
    starts = range(start, last * room, room)
    return [
        memory[start : start + size]
        for start, size in zip(starts, sizes, strict=True)
    ]


def facts(
    arena: Arena, addresses: AddressCache
) -> list[tuple[int, Address, int]]:
    """Return ``(size, address, MSG_TRUNC or 0)`` for each message.

    Args:
      arena: Where they are, or were.
      addresses: What decodes a sender, once.
    """
    count = arena.filling[MESSAGES]
    senders = _senders(arena, addresses, 0, count)
    flags = [flag & MSG_TRUNC for flag in arena.flags[:count]]
    return list(zip(arena.sizes[:count], senders, flags, strict=False))


def _senders(
    arena: Arena, addresses: AddressCache, first: int, last: int
) -> Iterable[Address]:
    count = last - first
    size = arena.name_size
    if arena.name_sizes[first:last].count(size) != count:
        names = map(arena.name, range(first, last))
        return map(addresses.__getitem__, names)
    # Equal names, the rule, are found by comparing them at once.
    all_names = bytes(arena.names[first * size : last * size])
    one = all_names[:size]
    if all_names == one * count:
        return repeat(addresses[one], count)
    each = _row(size, 0, count).unpack(all_names)
    return map(addresses.__getitem__, each)


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


def teller(
    arena: Arena, addresses: AddressCache
) -> Callable[[], list[tuple[int, Address, int]]]:
    """Return ``facts`` of the core that runs, with its arguments."""
    if CORE == "c" and CHUNK_EXTENSION:
        from triobatch._core._chunks_c import facts as facts_in_c  # noqa: PLC0415
        from triobatch._core.datagrams_c import export  # noqa: PLC0415

        return partial(facts_in_c, export(arena), addresses)
    return partial(facts, arena, addresses)


def message_taker(
    arena: Arena, addresses: AddressCache
) -> TakeMessages | None:
    """Return what takes as ``take`` does, but messages, if C is there.

    It stops before a message that only Python can make, so there may be none.
    """
    if CORE != "c" or not CHUNK_EXTENSION:
        return None
    from triobatch._core._chunks_c import take_messages  # noqa: PLC0415
    from triobatch._core.datagrams_c import export  # noqa: PLC0415
    from triobatch._wire.metadata import STAMP_HEADER, Message  # noqa: PLC0415

    def take_in_c(
        limit: int, known: dict[bytes, Metadata], timestamps: bool
    ) -> list[Message]:
        return take_messages(
            at, addresses, limit, known, Message, STAMP_HEADER, timestamps
        )

    at = export(arena)
    return take_in_c
