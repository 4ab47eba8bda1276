"""How a batch meets the kernel: small chunks copied, large ones pointed at.

The kernel pays 40-80 ns for an iovec, and building one from a Python object
costs 4 ns with the chunk extension, 165 without. Copying 64 bytes costs less
than 10. So below about 2 KiB a chunk, one ``send`` of joined bytes beats
``sendmsg`` of the chunks (0.4-0.9 of its time); above 4 KiB the copy costs
more than the iovec (1.1-1.45 times, loopback TCP, 16 to 256 chunks).

One look at the average decides, each time that a piece is needed. Measuring
every chunk to treat runs of small and large ones apart gained nothing: the
loop ate it.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

import trio

from triobatch._syscalls import IOV_MAX, Vector, send, send_copied

if TYPE_CHECKING:
    from collections.abc import Iterator

    from triobatch._buffers import Buffers

# Chunks that average fewer bytes than this are copied into one piece.
COPY_BELOW = 2048


@contextmanager
def in_flight(buffers: Buffers) -> Iterator[None]:
    """Keep everybody else from consuming ``buffers``.

    Raises:
      trio.BusyResourceError: somebody is sending them already.
    """
    if buffers._in_flight:
        raise trio.BusyResourceError(
            "another task is currently sending these buffers"
        )
    buffers._in_flight = True
    try:
        yield
    finally:
        buffers._in_flight = False


class Gather:
    """One send of one ``Buffers``: what was begun, and how to go on."""

    __slots__ = ("_buffers", "_vector")

    def __init__(self, buffers: Buffers) -> None:
        self._buffers = buffers
        self._vector: Vector | None = None

    def push(self, fd: int) -> tuple[int, bool]:
        """Send a piece with one system call, and consume what it took.

        Call it with Ctrl-C held off: between the kernel's taking the bytes
        and their being consumed there must be nothing.

        Returns:
          The bytes sent, and whether the kernel took all that it was offered.

        Raises:
          OSError: the call failed; ``BlockingIOError`` if it would block.
            Nothing was consumed.
        """
        buffers = self._buffers
        chunks, index = buffers._chunks, buffers._index
        count = len(chunks) - index
        vector = self._vector
        if vector is not None:
            sent = vector.send(fd)
            whole = vector.sent_all
        elif count == 1:
            chunk = chunks[index]
            if buffers._offset:
                chunk = memoryview(chunk)[buffers._offset :]
            sent = send(fd, chunk)
            whole = sent == len(chunk)
        elif buffers._nbytes < COPY_BELOW * count:
            sent, offered = send_copied(fd, chunks, index, buffers._offset)
            whole = sent == offered
        else:
            # It points to the chunks, which stay queued until they are sent.
            vector = self._vector = Vector(
                chunks[index : index + IOV_MAX], buffers._offset
            )
            sent = vector.send(fd)
            whole = vector.sent_all
        if whole:
            self._vector = None
        buffers._consume(sent)
        return sent, whole
