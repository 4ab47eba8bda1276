"""System calls on many stream sockets at once, through the C core.

The twin of ``groups_python``. One call of the core for all that are ready, and
one for all answers: what is left of Python a stream is a slice and a length.
"""

from __future__ import annotations

import mmap
from typing import TYPE_CHECKING, ClassVar

from triobatch._core._c import ffi, lib
from triobatch._core.streams_c import _point_to_bytes, _result

if TYPE_CHECKING:
    from collections.abc import Sequence

_from_buffer = ffi.from_buffer
_receive_group = lib.tb_receive_group
_send_group = lib.tb_send_group
_send = lib.tb_send
_unpack = ffi.unpack

# Messages of small pieces are copied here, one after the other, each just
# before it is sent: joined in Python first, a batch of 1000 x 4 KiB has left
# the cache by then, and costs 1.5 times as much.
_SCRATCH_SIZE = 2**18

# Up to this many bytes a lone message is joined, and sent without all that.
_JOINED_SIZE = 2**14


class GroupArena:
    """The memory that a group receives into, used again for every batch.

    What came lies one behind the other, so that little of it is touched, and
    no more of it is backed by the kernel than a batch has filled.

    Args:
      receive_size: At most this many bytes from one stream.
    """

    __slots__ = ("base", "count", "memory", "receive_size", "results")

    def __init__(self, receive_size: int) -> None:
        self.receive_size = receive_size
        self.count = 0

    def make_room(self, count: int) -> None:
        """Have room for this many streams."""
        # Private: after a fork two processes would receive into it.
        self.memory = mmap.mmap(
            -1,
            count * self.receive_size,
            mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS,
        )
        self.base = _from_buffer(self.memory)
        self.results = ffi.new("ssize_t[]", count)
        self.count = count


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
    if arena.count < count:
        arena.make_room(count)
    memory = arena.memory
    _result(
        _receive_group(
            fds,
            count,
            arena.base,
            arena.count * arena.receive_size,
            arena.receive_size,
            arena.results,
        )
    )
    received: list[bytes | int] = []
    start = 0
    for size in _unpack(arena.results, count):
        if size >= 0:
            stop = start + size
            received.append(memory[start:stop])
            start = stop
        else:
            received.append(size)
    return received


class _Scratch:
    """Iovecs, and memory to copy to: taken out of a pool, as ``Copy`` is."""

    __slots__ = ("address", "iovecs", "memory", "piece_count", "results")

    pool: ClassVar[list[_Scratch]] = []

    def __init__(self) -> None:
        self.memory = ffi.new("char[]", _SCRATCH_SIZE)
        self.make_room(1024)

    def make_room(self, piece_count: int) -> None:
        self.piece_count = piece_count
        self.iovecs = ffi.new("struct iovec[]", piece_count)
        self.address = int(ffi.cast("uintptr_t", self.iovecs))

    def point(self, pieces: list[bytes]) -> None:
        count = len(pieces)
        if count > self.piece_count:
            self.make_room(2 * count)
        if not _point_to_bytes(
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
) -> tuple[list[int], bool]:
    """Send a message to each of many stream sockets, one system call each.

    Args:
      fds: Where the messages go, in this order.
      pieces: What they are made of, one message behind the other.
      counts: How many pieces each has.

    Returns:
      For each of them the bytes taken, or the errno, negative; and whether
      all were taken whole.
    """
    count = len(fds)
    if count == 1 and sum(map(len, pieces)) <= _JOINED_SIZE:
        # 4 us less than what follows, of about 30 a request.
        message = pieces[0] if len(pieces) == 1 else b"".join(pieces)
        size = len(message)
        sent = _send(fds[0], message, size) if size else 0
        return [sent], sent == size
    results = ffi.new("ssize_t[]", count)
    try:
        scratch = _Scratch.pool.pop()
    except IndexError:
        scratch = _Scratch()
    scratch.point(pieces)
    whole = _result(
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
    return _unpack(results, count), whole == count
