"""System calls on many stream sockets at once, through the C core.

The twin of ``groups_python``. One call of the core for all that are ready, and
one for all answers: what is left of Python a stream is a slice and a length.
"""

from __future__ import annotations

import mmap
from typing import TYPE_CHECKING, Any, ClassVar

from triobatch._core import streams_c
from triobatch._core._c import ffi, lib

if TYPE_CHECKING:
    from collections.abc import Sequence

_from_buffer = ffi.from_buffer
_receive_group = lib.tb_receive_group
_send_group = lib.tb_send_group
_unpack = ffi.unpack

# Messages of small pieces are copied here, one after the other, each just
# before it is sent: joined in Python first, a batch of 1000 x 4 KiB has left
# the cache by then, and costs 1.5 times as much.
_SCRATCH_SIZE = 2**18


class GroupArena:
    """The memory that a group receives into, used again for every batch.

    What came lies one behind the other, so that little of it is touched, and
    no more of it is backed by the kernel than a batch has filled.

    Args:
      receive_size: At most this many bytes from one stream.
    """

    __slots__ = ("memory", "receive_size")

    def __init__(self, receive_size: int) -> None:
        self.receive_size = receive_size
        self.memory: Any = None

    def make_room(self, count: int) -> None:
        """Have room for this many streams."""
        size = count * self.receive_size
        if self.memory is None or len(self.memory) < size:
            # Private: after a fork two processes would receive into it.
            self.memory = mmap.mmap(
                -1, size, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS
            )


def receive_group(arena: GroupArena, fds: list[int]) -> list[bytes | int]:
    """Receive from many stream sockets, with one ``recv(2)`` each.

    Args:
      arena: The group's.
      fds: At least one.

    Returns:
      For each of them what it gave, ``b""`` at the end of the stream; or the
      errno, negative.
    """
    count = len(fds)
    arena.make_room(count)
    memory = arena.memory
    results = ffi.new("ssize_t[]", count)
    with _from_buffer(memory) as base:
        streams_c._result(
            _receive_group(
                fds, count, base, len(memory), arena.receive_size, results
            )
        )
    received: list[bytes | int] = _unpack(results, count)
    start = 0
    for i, size in enumerate(received):
        if size >= 0:  # type: ignore[operator]
            stop = start + size  # type: ignore[operator]
            received[i] = memory[start:stop]
            start = stop
    return received


class _Scratch:
    """Iovecs, and memory to copy to: taken out of a pool, as ``Copy`` is."""

    __slots__ = ("address", "count", "iovecs", "memory")

    pool: ClassVar[list[_Scratch]] = []

    def __init__(self) -> None:
        self.memory = ffi.new("char[]", _SCRATCH_SIZE)
        self.make_room(1024)

    def make_room(self, count: int) -> None:
        self.count = count
        self.iovecs = ffi.new("struct iovec[]", count)
        self.address = int(ffi.cast("uintptr_t", self.iovecs))

    def point(self, pieces: list[bytes]) -> None:
        count = len(pieces)
        if count > self.count:
            self.make_room(2 * count)
        if not streams_c._point_to_bytes(
            pieces,  # type: ignore[arg-type]
            0,
            self.address,
        ):
            # The list of pieces keeps alive what is pointed to.
            lib.tb_point(
                self.iovecs,
                list(map(_from_buffer, pieces)),
                list(map(len, pieces)),
                count,
            )


def send_group(
    fds: list[int], pieces: list[bytes], counts: Sequence[int]
) -> list[int]:
    """Send a message to each of many stream sockets, one system call each.

    Args:
      fds: Where the messages go, in this order.
      pieces: What they are made of, one message behind the other.
      counts: How many pieces each has, at least one.

    Returns:
      For each of them the bytes taken, or the errno, negative.
    """
    count = len(fds)
    results = ffi.new("ssize_t[]", count)
    try:
        scratch = _Scratch.pool.pop()
    except IndexError:
        scratch = _Scratch()
    scratch.point(pieces)
    streams_c._result(
        _send_group(
            fds,
            counts,
            count,
            scratch.iovecs,
            len(pieces),
            scratch.memory,
            _SCRATCH_SIZE,
            results,
        )
    )
    if not _Scratch.pool:
        _Scratch.pool.append(scratch)
    sent: list[int] = _unpack(results, count)
    return sent
