"""Bytes that came, and that nobody has taken yet.

What costs time here is moving what is left. A piece that arrives where nothing
is left stays as it is, and is cut from; one that arrives behind a rest is
added to a ``bytearray``, which grows in amortised constant time. What was
taken stays in front until it is half of all, so each byte moves a bounded
number of times however small the pieces are, and a small rest does not keep a
large piece.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from triobatch._wire.arguments import as_integer

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import TypeVar

    T = TypeVar("T")


class FrameTooLargeError(ValueError):
    """The peer has sent so much, and no whole frame. It is kept."""


class Received:
    """A queue of bytes, filled in pieces and taken in other ones."""

    __slots__ = ("_data", "_start")

    def __init__(self) -> None:
        self._data: bytes | bytearray = b""
        self._start = 0

    @property
    def nbytes(self) -> int:
        """The bytes that are there."""
        return len(self._data) - self._start

    def put(self, piece: bytes | bytearray) -> None:
        """Add a piece at the end. It is kept, not copied, where it can be."""
        if not self.nbytes:
            self._data, self._start = bytes(piece), 0
            return
        if type(self._data) is bytes:
            self._data = bytearray(memoryview(self._data)[self._start :])
            self._start = 0
        try:
            self._data += piece
        except BufferError:
            # Somebody has kept a view that split() gave out: it stays as it
            # is, and we go on with a copy.
            self._data = self._data[self._start :] + piece
            self._start = 0

    def put_back(self, pieces: Sequence[bytes | memoryview]) -> None:
        """Add pieces at the front, in this order."""
        self._data = b"".join((*pieces, self.view()))
        self._start = 0

    def view(self, size: int | None = None) -> memoryview:
        """Return a read-only view of the first ``size`` bytes, or of all."""
        stop = None if size is None else self._start + size
        return memoryview(self._data)[self._start : stop].toreadonly()

    def find(self, delimiter: bytes, start: int, stop: int) -> int:
        """Return where the first ``delimiter`` between two places ends.

        Returns:
          The bytes up to its end; 0 if there is none.
        """
        found = self._data.find(
            delimiter, self._start + start, self._start + stop
        )
        return found - self._start + len(delimiter) if found >= 0 else 0

    def take(self, size: int) -> bytes:
        """Return the first ``size`` bytes, or all, and drop them."""
        data, start = self._data, self._start
        if type(data) is bytes:
            # All of it is the object itself.
            taken = data[start : start + size]
        else:
            taken = bytes(memoryview(data)[start : start + size])
        self._drop(len(taken))
        return taken

    def take_into(self, view: memoryview) -> int:
        """Fill ``view`` as far as there is something; return the bytes."""
        size = min(len(view), self.nbytes)
        view[:size] = memoryview(self._data)[self._start : self._start + size]
        self._drop(size)
        return size

    def split(
        self, split: Callable[[memoryview], tuple[Sequence[T], int]]
    ) -> Sequence[T]:
        """Drop what ``split`` has made frames of, and return those.

        Raises:
          TypeError: it does not say with an integer how much it has used.
          ValueError: it says that it has used more than there is, or that it
            has made frames of nothing.
        """
        size = self.nbytes
        frames, used = split(self.view())
        if type(used) is not int:
            used = as_integer(used, "what split uses")
        if not 0 <= used <= size:
            raise ValueError(
                f"split must use between 0 and {size} bytes, not {used}"
            )
        if frames and not used:
            raise ValueError("split must use bytes for the frames it returns")
        self._drop(used)
        return frames

    def _drop(self, size: int) -> None:
        self._start += size
        if self._start * 2 >= len(self._data):
            self._data = self._data[self._start :]
            self._start = 0
