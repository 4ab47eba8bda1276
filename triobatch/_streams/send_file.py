"""Files on streams, by sendfile(2) where the stream is a socket.

A page that is not in memory would keep sendfile(2), and with it every task,
waiting for the disk. So each turn looks first (preadv2(2), RWF_NOWAIT: 1 us a
turn), and has what is missing read in a worker thread.
"""

from __future__ import annotations

import errno
import io
import os
from collections.abc import Iterable
from typing import Protocol, cast

import trio
from trio.lowlevel import (
    cancel_shielded_checkpoint,
    checkpoint,
    checkpoint_if_cancelled,
    current_task,
    enable_ki_protection,
)

from triobatch._core import calls
from triobatch._queues.buffers import Buffers, drop, first_piece
from triobatch._queues.file_slice import File, FileSlice, advance
from triobatch._resource import (
    Guard,
    open_fd,
    pause_after,
    raise_stream_error,
)
from triobatch._streams.file_parts import (
    READ_SIZE,
    Parts,
    read,
    read_part,
    shorter,
)
from triobatch._streams.outermost import defines_first, takes_messages
from triobatch._streams.send_buffers import send_buffers
from triobatch._streams.sending import SendHalf
from triobatch._wire.hints import Buffer

# What is sent before the others get their turn: 100 to 500 us on loopback.
_TURN_SIZE = 2**20

# What a worker thread reads before any of it is sent: a hop between threads
# (100 us) should not count, and a cancellation waits for it.
_HOP_SIZE = 2**22

# What sendfile(2) says of the file, and not of the socket.
_FILE_ERRORS = frozenset((errno.EIO, errno.EINVAL, errno.ENOMEM))

# What other streams are given at a time: whole TLS records.
_PIECE_SIZE = 2**18


class _SendsFiles(Protocol):
    async def send_file(
        self,
        file: File | FileSlice,
        offset: int = 0,
        size: int | None = None,
        *,
        header: Buffers | Iterable[Buffer] = (),
        trailer: Buffers | Iterable[Buffer] = (),
    ) -> int: ...


async def send_file(
    stream: trio.abc.SendStream,
    file: File | FileSlice,
    offset: int = 0,
    size: int | None = None,
    *,
    header: Buffers | Iterable[Buffer] = (),
    trailer: Buffers | Iterable[Buffer] = (),
) -> int:
    """Send a part of a file on any stream.

    On a ``BatchSocketStream`` no byte of it is copied, and the header leaves
    with the first of them. Others are given pieces.

    Args:
      stream: Where to.
      file: A regular file, opened for reading in a binary mode with ``open``,
        ``tempfile`` or ``trio.open_file``, which is left as it is; or a
        ``FileSlice``, which is consumed as it is sent.
      offset: Where the part starts, in bytes. Not with a ``FileSlice``.
      size: How large it is; to the end of the file by default. Likewise.
      header: Chunks that go before it. A ``Buffers`` is consumed.
      trailer: Chunks that go after it. A ``Buffers`` is consumed.

    Returns:
      The bytes sent, which is all that there was.

    Raises:
      TypeError: ``file`` is no such file, or a chunk does not have the buffer
        protocol.
      ValueError: the file has no such part, or is closed.
      EOFError: the file has become shorter while it was sent. The peer waits
        for bytes that are not there: close the stream.
      OSError: the file could not be read.
      trio.BusyResourceError: another task is sending on this stream, or
        sending this slice or these buffers.
      trio.ClosedResourceError: this stream was closed, or ``send_eof`` was
        called.
      trio.BrokenResourceError: the connection broke.

    After any exception, ``Cancelled`` included, ``FileSlice`` and ``Buffers``
    hold exactly what the kernel did not take: passing them again goes on
    where the stream stopped. On other streams, as ``trio.SSLStream``, they
    hold what was not yet sent, with the piece on its way counted as not sent.

    On a ``SharedStream`` it is one message, which is read into memory whole.
    Elsewhere, what changes in the file may change what is already on its way:
    a peer gets what is there when the kernel sends it, and zeros for what was
    cut off. A long file leaves other tasks their turns. See ``sendfile(2)``.
    """
    if all(
        defines_first(type(stream), "send_file", other)
        for other in ("send_all", "send_buffers")
    ):
        return await cast("_SendsFiles", stream).send_file(
            file, offset, size, header=header, trailer=trailer
        )
    if not isinstance(stream, trio.abc.SendStream):
        raise TypeError(
            f"stream must be a trio.abc.SendStream, not "
            f"{type(stream).__name__}"
        )
    whole = takes_messages(stream)
    with Parts(file, offset, size, header, trailer) as parts:
        return await _send_pieces(
            stream, parts, parts.file.nbytes if whole else _PIECE_SIZE
        )


# As in ``SendHalf.send_list``, Ctrl-C is held off while the guard is taken.
@enable_ki_protection
async def send_file_on_socket(
    sending: SendHalf,
    guard: Guard,
    file: File | FileSlice,
    offset: int,
    size: int | None,
    header: Buffers | Iterable[Buffer],
    trailer: Buffers | Iterable[Buffer],
) -> int:
    """Send it on a socket, within its guard; see ``send_file``."""
    if guard.busy:
        guard.check()
    guard.busy = True
    guard.task = current_task()
    sent = 0
    try:
        if (
            type(header) is type(trailer) is tuple
            and not header + trailer
            and not isinstance(file, FileSlice)
        ):
            # Nobody else has this part, so there is nothing to claim: a page
            # of 20 kB takes 8 us less.
            file = FileSlice(file, offset, size)
            offset, size = 0, None
            if 0 < file.nbytes <= _TURN_SIZE:
                await checkpoint_if_cancelled()
                sent = await _send_at_once(sending, file)
                if not file.nbytes:
                    await cancel_shielded_checkpoint()
                    return sent
        with Parts(file, offset, size, header, trailer) as parts:
            return sent + await _Sending(sending, parts).run()
    finally:
        guard.busy = False
        guard.task = None


async def _send_at_once(sending: SendHalf, file: FileSlice) -> int:
    """Make one system call, if all of it is in memory; return what it took."""
    source, size = file.file.fileno(), file.nbytes
    if calls.cached(source, file.offset, size) < size:
        return 0
    try:
        return _push_file(sending, file, size)
    except Exception:
        await cancel_shielded_checkpoint()
        raise


@enable_ki_protection
def _push_file(sending: SendHalf, file: FileSlice, size: int) -> int:
    """Make one system call; return the bytes taken, 0 for no room."""
    fd = open_fd(sending._socket)
    sending.calls += 1
    try:
        sent = calls.send_file(fd, file.file.fileno(), file.offset, size)
    except BlockingIOError:
        return 0
    except OSError as error:
        if error.errno in _FILE_ERRORS:
            raise
        # The socket is open: but is the file, whose number it names as well?
        os.fstat(file.file.fileno())
        raise_stream_error(error)
    if not sent:
        raise shorter(file)
    advance(file, sent)
    sending.bytes_sent += sent
    if sent != size:
        sending.partial_writes += 1
    return sent


class _Sending:
    """One file on its way to a socket."""

    def __init__(self, sending: SendHalf, parts: Parts) -> None:
        self._sending = sending
        self._parts = parts
        # Since the others had their turn, or a wait that stood for it.
        self._unyielded = 0
        self._yielded = False
        # Waits in a row that have brought nothing.
        self._idle = 0

    async def run(self) -> int:
        parts, before = self._parts, self._sending.bytes_sent
        await checkpoint_if_cancelled()
        try:
            if not (parts.header or parts.file.nbytes or parts.trailer):
                open_fd(self._sending._socket)
            if parts.header:
                await self._send_chunks(
                    parts.header, more=bool(parts.file.nbytes or parts.trailer)
                )
            await self._send_file()
            if parts.trailer:
                await self._send_chunks(parts.trailer, more=False)
        except Exception:
            # So that a loop that goes on regardless lets others run.
            await cancel_shielded_checkpoint()
            raise
        if not self._yielded:
            await cancel_shielded_checkpoint()
        return self._sending.bytes_sent - before

    async def _send_chunks(self, chunks: Buffers, *, more: bool) -> None:
        while chunks:
            if self._stops(self._push_chunks(chunks, more)):
                await self._wait()

    async def _send_file(self) -> None:
        file = self._parts.file
        cached = 0
        while file.nbytes:
            size = min(file.nbytes, _TURN_SIZE)
            if not cached:
                cached = calls.cached(file.file.fileno(), file.offset, size)
            if not cached:
                cached = min(file.nbytes, _HOP_SIZE)
                await trio.to_thread.run_sync(
                    _read_in, file.file, file.offset, cached
                )
                self._unyielded = 0
                self._yielded = True
            sent = _push_file(self._sending, file, min(size, cached))
            cached -= sent
            if self._stops(sent):
                await self._wait()

    def _stops(self, sent: int) -> bool:
        """Return whether there is no room, or it is the others' turn."""
        self._unyielded += sent
        return not sent or self._unyielded >= _TURN_SIZE

    async def _wait(self) -> None:
        if self._unyielded >= _TURN_SIZE:
            await checkpoint()
        else:
            parts = self._parts
            left = parts.header.nbytes + parts.file.nbytes
            if self._sending._lift_for(left + parts.trailer.nbytes):
                return
            self._idle = 0 if self._unyielded else self._idle + 1
            await self._sending.wait_writable()
            await pause_after(self._idle)
        self._unyielded = 0
        self._yielded = True

    @enable_ki_protection
    def _push_chunks(self, chunks: Buffers, more: bool) -> int:
        """Make one system call; return the bytes taken, 0 for no room."""
        send = calls.send_more if more else calls.send
        piece = first_piece(chunks, _PIECE_SIZE)
        size = len(piece)
        sending = self._sending
        fd = open_fd(sending._socket)
        sending.calls += 1
        failure = None
        try:
            sent = send(fd, piece)
        except BlockingIOError:
            return 0
        except OSError as error:
            # The frames of the failed call hold the piece.
            failure = error.with_traceback(None)
        finally:
            del piece
        if failure is not None:
            # Not while it is handled, or PyPy puts its traceback back.
            raise_stream_error(failure)
        drop(chunks, sent)
        sending.bytes_sent += sent
        if sent != size:
            sending.partial_writes += 1
        return sent


def _read_in(file: io.FileIO, offset: int, size: int) -> None:
    """Read a part of a file, so that it is in memory."""
    end = offset + size
    while offset < end:
        read = read_part(file, offset, min(READ_SIZE, end - offset))
        if not read:
            return
        offset += len(read)


# So that what is sent is consumed before Ctrl-C comes out.
@enable_ki_protection
async def _send_pieces(
    stream: trio.abc.SendStream, parts: Parts, piece_size: int
) -> int:
    file, sent = parts.file, 0
    last = False
    while not last:
        size = min(file.nbytes, piece_size)
        last = size == file.nbytes
        # What is added to the header later has no place behind the file.
        header = b"" if sent else bytes(parts.header)
        chunks = [header, await read(file, size)]
        if last:
            chunks.append(bytes(parts.trailer))
        piece = Buffers(chunks)
        del chunks
        offered = piece.nbytes
        try:
            await send_buffers(stream, piece)
            piece.clear()
        finally:
            # It is consumed as the stream takes it.
            parts.drop(offered - piece.nbytes, len(header), size)
            piece.clear()
        sent += offered
    return sent
