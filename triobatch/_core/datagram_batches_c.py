"""Datagrams of one size to one address, on the C core.

Such a batch is two calls into C: the list extension packs a list into memory
and a struct, and the core sends what these say. Joining the payloads in Python
costs three looks at each, and a bytes object whose pages are faulted in each
time: 58 us for 64 x 1200 bytes, 40 without.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from triobatch._core._c import ffi, lib
from triobatch._core.choice import CHUNK_EXTENSION
from triobatch._core.chunks import COPY_SIZE
from triobatch._core.counts import os_error

if TYPE_CHECKING:
    from collections.abc import Sequence

    from triobatch._wire.addresses import Address
    from triobatch._wire.hints import Buffer

_send_batch = lib.tb_send_batch


class Batch:
    """Datagrams of one size to one address, packed into memory.

    Used again and again, as ``Scratch`` is, and for the same reasons.

    Attributes:
      count: How many they are.
      peer: The sockaddr of their address.
      runs: Messages that the kernel is to cut up.
      struct: What says all of them, for the core.
      address: Where that is, for the list extension.
    """

    __slots__ = ("_memory", "address", "count", "peer", "runs", "struct")

    def __init__(self) -> None:
        self.count = self.runs = 0
        self.peer = b""
        self._memory = ffi.new("char[]", COPY_SIZE)
        self.struct = ffi.new(
            "struct tb_batch *", {"memory": self._memory, "room": COPY_SIZE}
        )
        self.address = int(ffi.cast("uintptr_t", self.struct))

    @property
    def data(self) -> memoryview:
        """The payloads, one behind the other."""
        return memoryview(ffi.buffer(self._memory, self.struct.size))

    @property
    def segment_size(self) -> int:
        """Bytes a payload; the last may be shorter."""
        return int(self.struct.segment_size)

    @property
    def run_size(self) -> int:
        """Bytes a message, as for ``send_segments``."""
        return int(self.struct.run_size)

    def give_back(self) -> None:
        """Put it into the pool, or free it if that has enough."""
        if len(_pool) < POOL_SIZE:
            _pool.append(self)


def send_batch(fd: int, batch: Batch) -> int:
    """Send the front with one ``sendmmsg``; return how many datagrams went.

    Raises:
      OSError: the first message was refused.
    """
    taken: int = _send_batch(fd, batch.struct)
    if taken < 0:
        raise os_error(-taken)
    return taken


_pool: list[Batch] = []
# More than one are out only while one waits for room.
POOL_SIZE = 4


def pack(
    payloads: list[Buffer], peer: bytes, limit: tuple[int, int, int]
) -> Batch | None:
    """Copy payloads side by side, if they are of one size.

    Args:
      payloads: The last may be shorter, and none be empty.
      peer: The sockaddr of all.
      limit: What a run may hold: datagrams, bytes, and bytes a datagram.

    Returns:
      The batch, to be given back; None for any other payloads, and for more
      than COPY_SIZE bytes.
    """
    try:
        batch = _pool.pop()
    except IndexError:
        batch = Batch()
    batch.count = _pack(payloads, peer, limit, batch.address)
    if batch.count:
        batch.peer = peer
        batch.runs = batch.struct.runs
        return batch
    batch.give_back()
    return None


def pack_pairs(
    pairs: Sequence[tuple[Any, ...]],
    address: Address,
    peer: bytes,
    limit: tuple[int, int, int],
) -> Batch | None:
    """Pack the payloads of pairs, if all of them have that address."""
    try:
        batch = _pool.pop()
    except IndexError:
        batch = Batch()
    batch.count = _pack_pairs(pairs, address, peer, limit, batch.address)
    if batch.count:
        batch.peer = peer
        batch.runs = batch.struct.runs
        return batch
    batch.give_back()
    return None


if CHUNK_EXTENSION:
    from triobatch._core._chunks_c import pack as _pack
    from triobatch._core._chunks_c import pack_pairs as _pack_pairs
elif not TYPE_CHECKING:
    from functools import partial

    from triobatch._core import datagram_batches_python
    from triobatch._core.datagram_batches_python import (  # noqa: F401
        Batch,
        pack,
        pack_pairs,
    )
    from triobatch._core.datagrams_c import send_segments

    send_batch = partial(
        datagram_batches_python.send_batch, send_segments=send_segments
    )
