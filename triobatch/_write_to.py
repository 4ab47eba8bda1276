"""What ``Buffers.write_to`` does for each kind of target."""

from __future__ import annotations

import errno
import io
import os
import sys
from typing import TYPE_CHECKING

import trio
from trio.lowlevel import enable_ki_protection

from triobatch._core.chunks import IOV_MAX, locate
from triobatch._core.files import writev
from triobatch._datagrams.socket import DatagramSocket
from triobatch._queues.buffers import (
    Buffers,
    drop,
    first_bytes,
    first_chunks,
)
from triobatch._resource import Claim, raise_pipe_error
from triobatch._streams.send_buffers import send_buffers

if TYPE_CHECKING:
    from triobatch._queues.buffers import Target
    from triobatch._queues.views import Chunk

# How much a worker thread writes before its result is consumed: enough for a
# hop between threads (100 us) not to count, and little enough for the memory
# of a long queue to fall while it is written.
_HOP_SIZE = 16 * 2**20

# What open() returns in a binary mode that writes, where there is a writev.
_OPENED = (
    (io.FileIO, io.BufferedWriter, io.BufferedRandom)
    if hasattr(os, "writev")
    else ()
)


async def write_to(buffers: Buffers, target: Target) -> int:
    """Consume ``buffers`` into ``target``; see ``Buffers.write_to``."""
    if sys.platform != "win32" and type(target) is trio.lowlevel.FdStream:
        return await _write_to_pipe(buffers, target)
    if isinstance(target, trio.abc.SendStream):
        return await send_buffers(target, buffers)
    if isinstance(target, DatagramSocket):
        return await _write_to_datagram_socket(buffers, target)
    # As Trio's wrapper has it. A write of its own would be bypassed, and what
    # a wrapper round that hands on (__getattr__) is not of its type.
    kind = type(target)
    own = hasattr(kind, "write") or not hasattr(kind, "wrapped")
    file = None if own else getattr(target, "wrapped", None)
    if isinstance(file, (io.RawIOBase, io.BufferedIOBase)):
        return await _write_to_file(buffers, file)
    if isinstance(file, io.TextIOBase):
        raise TypeError("target must be a file opened in a binary mode")
    raise TypeError(
        "target must be a stream, a DatagramSocket or an asynchronous "
        "binary file, "
        f"not {type(target).__name__}"
    )


async def _write_to_datagram_socket(
    buffers: Buffers, sock: DatagramSocket
) -> int:
    size = buffers.nbytes
    if size:
        await sock.send(buffers)
    else:
        # As with Go: nothing is no datagram, so a queue that was sent can be
        # passed again and is not sent twice.
        await sock.send_batch(())
    return size


if sys.platform != "win32":

    async def _write_to_pipe(
        buffers: Buffers, pipe: trio.lowlevel.FdStream
    ) -> int:
        written = 0
        with Claim(buffers):
            # FdStream's guard is private, but every await here is in a method
            # that takes it. This one says busy or closed; it is a checkpoint.
            await pipe.send_all(b"")
            while buffers:
                size = _write_to_fd(buffers, pipe)
                written += size
                if not size:
                    await pipe.wait_send_all_might_not_block()
        return written

    @enable_ki_protection
    def _write_to_fd(buffers: Buffers, pipe: trio.lowlevel.FdStream) -> int:
        """Write with one ``writev(2)``; return 0 if the pipe is full."""
        try:
            written = writev(pipe.fileno(), first_chunks(buffers, IOV_MAX))
        except BlockingIOError:
            return 0
        except OSError as error:
            # The frames of the failed call hold views of the chunks.
            error = error.with_traceback(None)
            # The number is -1 once the stream is closed.
            raise_pipe_error(error)
        drop(buffers, written)
        return written


class _FileWriter:
    """Writes chunks in a worker thread, and counts what was written."""

    def __init__(self, file: io.RawIOBase | io.BufferedIOBase) -> None:
        self._file = file
        self.written = 0

    def write(self, chunks: list[Chunk]) -> None:
        raw = getattr(self._file, "raw", self._file)
        if type(self._file) in _OPENED and type(raw) is io.FileIO:
            self._write_to_fd(chunks, raw)
        else:
            # BytesIO, gzip.GzipFile, a subclass with a write of its own: no
            # descriptor stands for all that their write does.
            self._write_to_object(chunks)

    def _write_to_object(self, chunks: list[Chunk]) -> None:
        for chunk in chunks:
            with memoryview(chunk) as view:
                # Or a traceback would keep it exported.
                del chunk
                done = 0
                while done < len(view):
                    with view[done:] as rest:
                        try:
                            size = self._file.write(rest)
                        except BlockingIOError as error:
                            # A buffered file says what it took.
                            self.written += error.characters_written
                            raise
                    # None: a raw file that would block, and took nothing.
                    if size is None:
                        raise BlockingIOError(
                            errno.EAGAIN, "write could not complete"
                        )
                    done += size
                    self.written += size

    def _write_to_fd(self, chunks: list[Chunk], raw: io.FileIO) -> None:
        # What the file object still holds goes first, and a reader's
        # lookahead is undone. It then takes the kernel's position as its own,
        # and asks for it when it needs it.
        self._file.flush()
        index = offset = 0
        while index < len(chunks):
            window = chunks[index : index + IOV_MAX]
            window[0] = memoryview(window[0])[offset:]
            # Asked anew each time: another task may have closed the file
            # (ValueError), and its number be another file's by now.
            try:
                size = writev(raw.fileno(), window)
            finally:
                # Let go of, even when a traceback keeps the list.
                window.clear()
            self.written += size
            index, offset = locate(chunks, index, offset, size)


@enable_ki_protection
async def _write_to_file(
    buffers: Buffers, file: io.RawIOBase | io.BufferedIOBase
) -> int:
    if not file.writable():
        raise io.UnsupportedOperation("not writable")
    written = 0
    with Claim(buffers):
        if not buffers:
            await trio.lowlevel.checkpoint()
        while buffers:
            writer = _FileWriter(file)
            chunks = first_bytes(buffers, _HOP_SIZE)
            try:
                # Not abandoned on cancellation, so the count is final.
                await trio.to_thread.run_sync(writer.write, chunks)
            finally:
                chunks.clear()
                drop(buffers, writer.written)
                written += writer.written
    return written


Buffers._write_to = write_to
