"""A part of a file that is consumed from the front as it is sent."""

from __future__ import annotations

import io
import os
import stat
from tempfile import _TemporaryFileWrapper
from typing import IO, ClassVar, Protocol, TypeAlias

from triobatch._queues.twins import bare_twin
from triobatch._wire.arguments import as_integer
from triobatch._wire.described import described
from triobatch._wire.hints import Self


class _AsyncFile(Protocol):
    @property
    def wrapped(self) -> io.IOBase: ...


# What stands for a file, said without the event loop of Trio's. The modules
# which open one say IO[bytes] where it depends on their arguments.
File: TypeAlias = IO[bytes] | _AsyncFile

# Whose descriptor stands for what their read() returns. A gzip.GzipFile has
# one too, of something else.
_OPENED = (io.FileIO, io.BufferedReader, io.BufferedRandom)


class FileSlice:
    """A part of a file, consumed from the front as it is sent.

    Args:
      file: A regular file, opened for reading in a binary mode with ``open``,
        ``tempfile`` or ``trio.open_file``. It stays the caller's, to be closed
        when it is sent. Its own position is neither used nor moved; what was
        written to it must have been flushed.
      offset: Where the part starts, in bytes.
      size: How large it is; to the end of the file by default.

    Raises:
      TypeError: ``file`` is none.
      ValueError: it is not a regular file, it is closed, or it has no such
        part.

    Attributes:
      file: The file.
      offset: Where what is left starts.
      nbytes: The bytes left.
    """

    __slots__ = ("__weakref__", "_claimed", "file", "nbytes", "offset")

    KIND: ClassVar[str] = "parts of a file"

    def __init__(
        self, file: File, offset: int = 0, size: int | None = None
    ) -> None:
        kind, wrapped = type(file), file
        # Trio's wrapper, and that of tempfile. What anybody else's reads need
        # not be what is in the file.
        if hasattr(kind, "wrapped") and not hasattr(kind, "read"):
            wrapped = getattr(file, "wrapped", file)
        if type(wrapped) is _TemporaryFileWrapper:
            wrapped = wrapped.file
        raw = getattr(wrapped, "raw", wrapped)
        if type(wrapped) not in _OPENED or type(raw) is not io.FileIO:
            raise TypeError(
                "file must be a file opened in a binary mode, not "
                f"{type(wrapped).__name__}"
            )
        self.file: io.FileIO = raw
        if not raw.readable():
            raise ValueError("file must be opened for reading")
        status = os.fstat(raw.fileno())
        if not stat.S_ISREG(status.st_mode):
            raise ValueError("file must be a regular file")
        if type(offset) is not int:
            offset = as_integer(offset, "offset")
        if not 0 <= offset <= status.st_size:
            raise ValueError(
                f"offset must be between 0 and {status.st_size}, not {offset}"
            )
        most = status.st_size - offset
        if size is None:
            size = most
        elif type(size) is not int:
            size = as_integer(size, "size")
        if not 0 <= size <= most:
            raise ValueError(
                f"size must be between 0 and {most}, not {size}: the file "
                f"has {status.st_size} bytes"
            )
        self.offset: int = offset
        self.nbytes: int = size
        self._claimed = False

    @described
    def __repr__(self) -> str:
        return f"{self.nbytes} bytes from {self.offset} left"

    def __copy__(self) -> Self:
        twin = bare_twin(self)
        FileSlice.__init__(twin, self.file, self.offset, self.nbytes)
        return twin

    # What the package does with a part that is being sent, as the function at
    # the end of this module. A claim on it is not looked at.

    def _consume(self, size: int) -> None:
        """Drop the first ``size`` bytes."""
        self.offset += size
        self.nbytes -= size


# For the package. As a public method it would let anybody consume what is
# being sent.
advance = FileSlice._consume
