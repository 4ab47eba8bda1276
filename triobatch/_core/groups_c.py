"""System calls on many stream sockets at once, through the C core.

The twin of ``groups_python``. One call of the core for all that are ready, and
one for all answers: what is left of Python a stream is a slice and a length.
"""

from __future__ import annotations

import mmap
from typing import TYPE_CHECKING, ClassVar

from triobatch._core._c import ffi, lib
from triobatch._core.choice import CHUNK_EXTENSION
from triobatch._core.messages import as_pieces, flatten
from triobatch._core.streams_c import _result

if TYPE_CHECKING:
    from collections.abc import Callable

    from triobatch._core.messages import Message

_flatten: Callable[[list[Message], int, int, int], list[bytes] | int | None]
_split: Callable[[int, int, int], list[bytes | int]] | None
if CHUNK_EXTENSION:
    from triobatch._core._chunks_c import flatten as _flatten
    from triobatch._core._chunks_c import split as _split
else:  # pragma: no cover (free-threaded builds)
    # What follows copes without.
    _flatten = lambda *_: None  # noqa: E731
    _split = None

_from_buffer = ffi.from_buffer
_receive_group = lib.tb_receive_group
_send_group = lib.tb_send_group
_send = lib.tb_send
_unpack = ffi.unpack


def _address(memory: object) -> int:
    return int(ffi.cast("uintptr_t", memory))


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

    __slots__ = (
        "address",
        "base",
        "count",
        "memory",
        "receive_size",
        "results",
        "results_address",
    )

    def __init__(self, receive_size: int) -> None:
        self.receive_size = receive_size
        self.count = 0

    def make_room(self, count: int) -> None:
        """Have room for this many streams, or fewer where memory is short.

        Raises:
          OSError: there is none even for one.
        """
        while True:
            try:
                # Private: after a fork two processes would receive into it.
                memory = mmap.mmap(
                    -1,
                    count * self.receive_size,
                    mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS,
                )
            except OSError:
                count //= 2
                if not count and not self.count:
                    raise
                if count <= self.count:
                    return
            else:
                break
        self.memory = memory
        self.base = _from_buffer(self.memory)
        self.address = _address(self.base)
        self.results = ffi.new("ssize_t[]", count)
        self.results_address = _address(self.results)
        self.count = count


def receive_group(arena: GroupArena, fds: list[int]) -> list[bytes | int]:
    """Receive from many stream sockets, with one ``recv(2)`` each.

    Args:
      arena: The group's.
      fds: At least one. Those that there is no room for are cut off.

    Returns:
      For each of them what it gave, ``b""`` at the end of the stream; or the
      errno, negative.
    """
    count = len(fds)
    if arena.count < count:
        arena.make_room(count)
        if arena.count < count:
            count = arena.count
            del fds[count:]
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
    if _split is not None:
        return _split(arena.address, arena.results_address, count)
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
    """Columns, and memory to copy to: taken out of a pool, as ``Copy`` is."""

    __slots__ = ("columns", "count", "memory", "piece_count", "pieces")

    pool: ClassVar[list[_Scratch]] = []

    def __init__(self) -> None:
        self.memory = ffi.new("char[]", _SCRATCH_SIZE)
        self.count = self.piece_count = 0
        self.make_room(128, 1024)

    def make_room(self, count: int, piece_count: int) -> None:
        if count > self.count:
            counts = ffi.new("uint32_t[]", count)
            results = ffi.new("ssize_t[]", count)
            self.columns = counts, results, _address(counts)
            self.count = count
        if piece_count > self.piece_count:
            iovecs = ffi.new("struct iovec[]", piece_count)
            self.pieces = iovecs, _address(iovecs)
            self.piece_count = piece_count

    def point(self, messages: list[Message]) -> list[bytes]:
        """Point to all messages; return what has to be kept meanwhile."""
        count = len(messages)
        if count > self.count:
            self.make_room(2 * count, 0)
        found = _flatten(
            messages, self.pieces[1], self.columns[2], self.piece_count
        )
        if type(found) is int:
            self.make_room(0, 2 * found)
            found = _flatten(
                messages, self.pieces[1], self.columns[2], self.piece_count
            )
        if type(found) is list:
            return found
        pieces, counts = flatten(messages)
        self.make_room(0, len(pieces))
        self.columns[0][0:count] = counts
        lib.tb_point(
            self.pieces[0],
            list(map(_from_buffer, pieces)),
            list(map(len, pieces)),
            len(pieces),
        )
        return pieces


def send_group(
    fds: list[int], messages: list[Message]
) -> tuple[list[int], bool]:
    """Send a message to each of many stream sockets, one system call each.

    Args:
      fds: Where the messages go, in this order.
      messages: One for each.

    Returns:
      For each of them the bytes taken, or the errno, negative; and whether
      all were taken whole.

    Raises:
      TypeError: a message is neither bytes nor a list of them. Nothing was
        sent.
    """
    count = len(fds)
    if count == 1:
        pieces = as_pieces(messages[0])
        if sum(map(len, pieces)) <= _JOINED_SIZE:
            # 4 us less than what follows, of about 30 a request.
            message = pieces[0] if len(pieces) == 1 else b"".join(pieces)
            size = len(message)
            sent = _send(fds[0], message, size) if size else 0
            return [sent], sent == size
    try:
        scratch = _Scratch.pool.pop()
    except IndexError:
        scratch = _Scratch()
    pieces = scratch.point(messages)
    counts, results, _ = scratch.columns
    whole = _result(
        _send_group(
            fds,
            counts,
            count,
            scratch.pieces[0],
            len(pieces),
            scratch.memory,
            _SCRATCH_SIZE,
            results,
        )
    )
    taken = _unpack(results, count)
    if not _Scratch.pool:
        _Scratch.pool.append(scratch)
    return taken, whole == count
