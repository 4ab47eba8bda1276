"""What ``Buffers.write_to`` does for each kind of target."""

from __future__ import annotations

import errno
import io
import os
import sys
from weakref import WeakValueDictionary

import trio
from trio.lowlevel import enable_ki_protection

from triobatch._core.chunks import IOV_MAX, front, locate
from triobatch._core.counts import checked, checked_vector
from triobatch._core.files import writev
from triobatch._datagrams.abstract_socket import AbstractDatagramSocket
from triobatch._queues.buffers import (
    Buffers,
    Target,
    drop,
    first_bytes,
    first_chunks,
)
from triobatch._queues.views import Chunk
from triobatch._resource import Claim, pause_after, raise_pipe_error
from triobatch._streams.send_buffers import send_buffers

# How much a worker thread writes before its result is consumed: enough for a
# hop between threads (100 us) not to count, and little enough for the memory
# of a long queue to fall while it is written.
_HOP_SIZE = 16 * 2**20
# And how much one call on a file writes, before the thread looks whether its
# task was cancelled: about a millisecond, 30 in gzip.
_CALL_SIZE = 2**20

# A pipe whose reader keeps up never makes us wait. So that the other tasks get
# their turn, a long write yields after so many bytes, or system calls: with
# chunks of one byte, those take 30 us for a kilobyte.
_YIELD_SIZE = 2**20
_YIELD_CALLS = 16

# What open() returns in a binary mode that writes, and is written round: its
# own buffer would say of bytes that are still there that they are written.
_OPENED = (
    ()
    if sys.platform == "win32"
    else (io.FileIO, io.BufferedWriter, io.BufferedRandom)
)


async def write_to(buffers: Buffers, target: Target) -> int:
    """Consume ``buffers`` into ``target``; see ``Buffers.write_to``."""
    if sys.platform != "win32" and type(target) is trio.lowlevel.FdStream:
        return await _write_to_pipe(buffers, target)
    if isinstance(target, trio.abc.SendStream):
        return await send_buffers(target, buffers)
    if isinstance(target, AbstractDatagramSocket):
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
    buffers: Buffers, sock: AbstractDatagramSocket
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
        written = unyielded_from = idle = 0
        with Claim(buffers):
            # FdStream's guard is private, but every await here is in a method
            # that takes it. This one says busy or closed; it is a checkpoint.
            await pipe.send_all(b"")
            calls = 0
            while buffers:
                size = _write_to_fd(buffers, pipe)
                written += size
                calls += 1
                if not size:
                    idle = 0 if written > unyielded_from else idle + 1
                    await pipe.wait_send_all_might_not_block()
                    # Without the guard; but nobody else can write either.
                    await pause_after(idle)
                elif (
                    calls == _YIELD_CALLS
                    or written - unyielded_from >= _YIELD_SIZE
                ):
                    await pipe.send_all(b"")
                else:
                    continue
                calls, unyielded_from = 0, written
        return written

    @enable_ki_protection
    def _write_to_fd(buffers: Buffers, pipe: trio.lowlevel.FdStream) -> int:
        """Write with one ``writev(2)``; return 0 if the pipe is full."""
        window = first_chunks(buffers, IOV_MAX)
        failure = None
        try:
            fd = pipe.fileno()
            # It belongs to all who share the pipe, and any of them may have
            # changed it (fcntl(2), F_SETFL): shells do, and node.
            os.set_blocking(fd, False)
            written = checked_vector(writev(fd, window), window)
        except BlockingIOError:
            return 0
        except OSError as error:
            # The frames of the failed call hold views of the chunks.
            failure = error.with_traceback(None)
        finally:
            window.clear()
        if failure is not None:
            # Not while it is handled, or PyPy puts its traceback back. The
            # number is -1 once the stream is closed.
            raise_pipe_error(failure)
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
                    with view[done : done + _CALL_SIZE] as part:
                        done += self._write_part(part)

    def _write_part(self, part: memoryview) -> int:
        trio.from_thread.check_cancelled()
        try:
            size = self._file.write(part)
        except BlockingIOError as error:
            # A buffered file says what it took.
            self.written += checked(error.characters_written, len(part))
            raise
        # None: a raw file that would block, and took nothing.
        if size is None:
            raise BlockingIOError(errno.EAGAIN, "write could not complete")
        return self._took(checked(size, len(part)))

    def _took(self, size: int) -> int:
        if not size:
            # To try again would be to try for ever.
            raise OSError(errno.EIO, "the file takes nothing")
        self.written += size
        return size

    def _write_to_fd(self, chunks: list[Chunk], raw: io.FileIO) -> None:
        # What the file object still holds goes first, and a reader's
        # lookahead is undone. It then takes the kernel's position as its own,
        # and asks for it when it needs it.
        self._file.flush()
        index = offset = 0
        while index < len(chunks):
            trio.from_thread.check_cancelled()
            window = chunks[index : index + IOV_MAX]
            window = front(window, 0, offset, _CALL_SIZE)
            # Asked anew each time: another task may have closed the file
            # (ValueError), and its number be another file's by now.
            try:
                size = writev(raw.fileno(), window)
                self._took(checked_vector(size, window))
            finally:
                # Let go of, even when a traceback keeps the list.
                window.clear()
            index, offset = locate(chunks, index, offset, size)


# Of each run of Trio, by the file's id: what writes to it holds the lock, and
# the file.
_locks: trio.lowlevel.RunVar[WeakValueDictionary[int, trio.Lock]] = (
    trio.lowlevel.RunVar("triobatch._write_to._locks")
)


def _lock_of(file: io.IOBase) -> trio.Lock:
    """Return the lock of a file to which one task writes at a time."""
    try:
        locks = _locks.get()
    except LookupError:
        locks = WeakValueDictionary()
        _locks.set(locks)
    lock = locks.get(id(file))
    if lock is None:
        lock = locks[id(file)] = trio.Lock()
    return lock


@enable_ki_protection
async def _write_to_file(
    buffers: Buffers, file: io.RawIOBase | io.BufferedIOBase
) -> int:
    if not file.writable():
        raise io.UnsupportedOperation("not writable")
    written = 0
    lock = _lock_of(file)
    # A long write is many hops, and another task's must not come between.
    with Claim(buffers):
        async with lock:
            while buffers:
                written += await _hop(buffers, file)
    return written


async def _hop(
    buffers: Buffers, file: io.RawIOBase | io.BufferedIOBase
) -> int:
    """Write some of it in a worker thread; return the bytes written."""
    writer = _FileWriter(file)
    chunks = first_bytes(buffers, _HOP_SIZE)
    try:
        # Not abandoned on cancellation, so the count is final: the thread
        # itself looks, between two calls, whether there was one.
        await trio.to_thread.run_sync(writer.write, chunks)
    finally:
        chunks.clear()
        drop(buffers, writer.written)
    return writer.written


Buffers._write_to = write_to
