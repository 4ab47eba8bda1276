"""Memory that is filled with what came, to the full or not at all."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from triobatch._streams.received import Received
    from triobatch._wire.hints import Self

# How many views are offered to the kernel at a time: however little it fills,
# no more than these are looked at again.
_OFFERED = 64


class Filling:
    """Fills views, one behind the other, for a ``with`` block.

    An exception puts back what was filled in.

    Args:
      views: None of them empty.
      received: What came before, and what is put back to.
    """

    def __init__(self, views: list[memoryview], received: Received) -> None:
        self._views = views
        self._received = received
        self._index = 0
        self._offset = 0
        self.room = sum(map(len, views))
        self.size = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is not None:
            filled = self._views[: self._index]
            if self._offset:
                filled.append(self._views[self._index][: self._offset])
            self._received.put_back(filled)

    def take(self) -> bool:
        """Fill in what is there; return whether there is room left."""
        while self._received.nbytes and self.size < self.room:
            view = self._views[self._index][self._offset :]
            self.filled(self._received.take_into(view))
        return self.size < self.room

    def rest(self) -> list[memoryview]:
        """Return what is still to be filled."""
        first = self._views[self._index][self._offset :]
        return [first, *self._views[self._index + 1 : self._index + _OFFERED]]

    def filled(self, size: int) -> None:
        """Go on behind so many bytes."""
        self.size += size
        self._offset += size
        while self._index < len(self._views) and self._offset >= len(
            self._views[self._index]
        ):
            self._offset -= len(self._views[self._index])
            self._index += 1
