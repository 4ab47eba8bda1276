"""What ``send_file`` sends: a part of a file, and what goes round it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import trio
from trio.lowlevel import enable_ki_protection

from triobatch._core import calls
from triobatch._queues.buffers import Buffers, drop
from triobatch._queues.file_slice import FileSlice, advance
from triobatch._queues.views import check_chunks
from triobatch._resource import Claim

if TYPE_CHECKING:
    import io
    from collections.abc import Iterable

    from triobatch._queues.file_slice import File
    from triobatch._wire.hints import Buffer

# What a worker thread reads at a time: a cancellation waits for it.
READ_SIZE = 2**18


class Parts:
    """What is to be sent, claimed for a ``with`` block."""

    def __init__(
        self,
        file: File | FileSlice,
        offset: int,
        size: int | None,
        header: Buffers | Iterable[Buffer],
        trailer: Buffers | Iterable[Buffer],
    ) -> None:
        self._own: list[Buffers] = []
        if not isinstance(file, FileSlice):
            file = FileSlice(file, offset, size)
        elif offset or size is not None:
            raise TypeError("offset and size must not be given a FileSlice")
        self.file = file
        self.header = self._as_buffers(header, "header")
        self.trailer = self._as_buffers(trailer, "trailer")

    def _as_buffers(
        self, chunks: Buffers | Iterable[Buffer], name: str
    ) -> Buffers:
        if isinstance(chunks, Buffers):
            return chunks
        if type(chunks) not in (list, tuple):
            check_chunks(chunks, name)
        own = Buffers(chunks)
        self._own.append(own)
        return own

    # Ctrl-C in the midst of it would leave something claimed for ever.
    @enable_ki_protection
    def __enter__(self) -> Parts:  # noqa: PYI034
        if self.header is self.trailer:
            raise ValueError("header and trailer must be two Buffers")
        Claim.take(self.header, self.file, self.trailer)
        return self

    @enable_ki_protection
    def __exit__(self, *exc_info: object) -> None:
        Claim.let_go(self.header, self.file, self.trailer)
        for own in self._own:
            own.clear()

    def drop(self, size: int, header: int, file: int) -> None:
        """Drop the first bytes of a piece, which were sent.

        Args:
          size: How many.
          header: The bytes of the piece that are the header's. That may have
            got more meanwhile, which is not sent.
          file: Those that are the file's.
        """
        from_header = min(size, header)
        drop(self.header, from_header)
        from_file = min(size - from_header, file)
        advance(self.file, from_file)
        drop(self.trailer, size - from_header - from_file)


def shorter(file: FileSlice) -> EOFError:
    """Return the error for a file that ends before its part does."""
    return EOFError(
        f"the file has become shorter: {file.nbytes} bytes from "
        f"{file.offset} are not there"
    )


def read_part(file: io.FileIO, offset: int, size: int) -> bytes:
    """Read a part of a file, or what there is of it."""
    # Asked here, in the thread that reads, and again behind it: another task
    # may have closed the file (ValueError), and its number be another file's.
    data = calls.read_file(file.fileno(), offset, size)
    file.fileno()
    return data


async def read(file: FileSlice, size: int) -> bytes:
    """Return so many bytes, read in a worker thread unless they are there.

    Raises:
      EOFError: the file has become shorter.
    """
    if not size:
        return b""
    source, offset = file.file, file.offset
    if (
        size <= READ_SIZE
        and calls.cached(source.fileno(), offset, size) >= size
    ):
        data = read_part(source, offset, size)
    else:
        data = await trio.to_thread.run_sync(_read_all, source, offset, size)
    if len(data) != size:
        raise shorter(file)
    return data


def _read_all(file: io.FileIO, offset: int, size: int) -> bytes:
    data = bytearray()
    while len(data) < size:
        trio.from_thread.check_cancelled()
        piece = read_part(
            file, offset + len(data), min(READ_SIZE, size - len(data))
        )
        if not piece:
            break
        data += piece
    return bytes(data)
