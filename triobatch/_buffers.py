"""Placeholder: the stream half brings the real module."""

from collections.abc import Iterable, Iterator


class Buffers:
    """A queue of byte chunks, consumed from the front as they are sent."""

    def __init__(self, chunks: Iterable[bytes] = ()) -> None:
        self._data = b"".join(chunks)

    @property
    def nbytes(self) -> int:
        """Bytes left."""
        return len(self._data)

    def __iter__(self) -> Iterator[bytes]:
        if self._data:
            yield self._data

    def consume(self, size: int) -> None:
        """Drop ``size`` bytes from the front."""
        self._data = self._data[size:]
