"""Datagrams of one size to one address, without the list extension."""

from __future__ import annotations

from itertools import repeat
from operator import is_
from typing import TYPE_CHECKING, Any, cast

from triobatch._core.chunks import COPY_SIZE
from triobatch._core.datagrams_python import send_segments

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from triobatch._wire.addresses import Address
    from triobatch._wire.hints import Buffer

_MAX_SEGMENT_SIZE = 65535


class Batch:
    """Datagrams of one size to one address; see ``datagram_batches_c``."""

    __slots__ = ("count", "data", "peer", "run_size", "segment_size")

    def __init__(
        self,
        payloads: list[bytes],
        peer: bytes,
        limit: tuple[int, int, int],
    ) -> None:
        size = len(payloads[0])
        segments, most, largest = limit
        self.count: int = len(payloads)
        self.data: bytes = b"".join(payloads)
        self.peer: bytes = peer
        self.segment_size: int = size
        a_run = max(1, min(segments, most // size)) if size <= largest else 1
        self.run_size: int = a_run * size

    @property
    def runs(self) -> int:
        """Messages that the kernel is to cut up."""
        if self.run_size == self.segment_size:
            return 0
        whole, last = divmod(len(self.data), self.run_size)
        return whole + (last > self.segment_size)

    def give_back(self) -> None:
        """Do nothing: it is not used again."""


def send_batch(
    fd: int,
    batch: Batch,
    send_segments: Callable[..., int] = send_segments,
) -> int:
    """Send the front; return how many datagrams went."""
    taken = send_segments(
        fd, batch.data, batch.segment_size, batch.run_size, batch.peer
    )
    return -(-taken // batch.segment_size)


def pack(
    payloads: list[Buffer], peer: bytes, limit: tuple[int, int, int]
) -> Batch | None:
    """Join payloads, if they are bytes of one size."""
    count = len(payloads)
    if not count or list(map(type, payloads)).count(bytes) != count:
        return None
    listed = cast("list[bytes]", payloads)
    sizes = list(map(len, listed))
    size, last = sizes[0], sizes[-1]
    equal = sizes.count(size)
    if equal != count and not (equal == count - 1 and last < size):
        return None
    if not 0 < last <= size <= _MAX_SEGMENT_SIZE or sum(sizes) > COPY_SIZE:
        return None
    return Batch(listed, peer, limit)


def pack_pairs(
    pairs: Sequence[tuple[Any, ...]],
    address: Address,
    peer: bytes,
    limit: tuple[int, int, int],
) -> Batch | None:
    """Pack the payloads of pairs, if all of them have that address."""
    if {*map(type, pairs)} != {tuple} or {*map(len, pairs)} != {2}:
        return None
    payloads, addresses = zip(*pairs, strict=True)
    if not all(map(is_, addresses, repeat(address))):
        return None
    return pack(list(payloads), peer, limit)
