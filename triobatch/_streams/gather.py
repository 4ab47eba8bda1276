"""How a batch meets the kernel: small chunks copied, large ones pointed at.

The kernel pays 20-80 ns for an iovec, and building one from a Python object
costs 4 ns with the chunk extension, 165 without. Copying 64 bytes costs less
than 5. So up to about 4 KiB a chunk, one ``send`` of joined bytes beats
``sendmsg`` of the chunks (0.4-0.9 of its time); from 16 KiB on the copy costs
more than the iovec (1.1 times and more, loopback TCP, 16 to 256 chunks).

One look at the average decides, each time that a piece is needed. Measuring
every chunk to treat runs of small and large ones apart gained nothing: the
loop ate it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from triobatch._core import calls
from triobatch._core.chunks import COPY_BELOW, IOV_MAX, locate

if TYPE_CHECKING:
    from triobatch._queues.buffers import Buffers

# How many bytes are pointed at in one system call. With a peer that keeps up,
# one sendmsg(2) of 500 MB took 28 ms over TCP and 50 over a Unix socket, in
# which nothing else ran; net.ipv4.tcp_wmem lets a TCP socket hold 4 MiB.
MAX_OFFERED = 2**22


class Gather:
    """One send of one ``Buffers``: what was begun, and how to go on."""

    __slots__ = ("_buffers", "_short", "_vector")

    def __init__(self, buffers: Buffers) -> None:
        self._buffers = buffers
        self._vector: calls.Vector | None = None
        self._short = False

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
        if self._vector is not None:
            sent, whole = self._vector.send(fd)
        else:
            chunks, index = buffers._chunks, buffers._index
            count = len(chunks) - index
            if buffers._nbytes < COPY_BELOW * count:
                sent, whole = calls.send_copied(
                    fd, chunks, index, buffers._offset
                )
            else:
                # It points to the chunks, which stay queued until they are
                # sent. Most batches go in one call; one that does not is
                # worth an array of its own.
                stop = index + IOV_MAX
                if buffers._nbytes > MAX_OFFERED:
                    end, _ = locate(
                        chunks, index, buffers._offset, MAX_OFFERED
                    )
                    if end == index:
                        return self._push_part(fd)
                    stop = min(stop, end)
                window = chunks[index:stop]
                if self._short:
                    self._vector = calls.Vector(window, buffers._offset)
                    sent, whole = self._vector.send(fd)
                else:
                    sent, whole = calls.send_pointed(
                        fd, window, buffers._offset
                    )
        buffers._consume(sent)
        if whole:
            self._vector = None
        self._short = not whole
        return sent, whole

    def _push_part(self, fd: int) -> tuple[int, bool]:
        """Send from a chunk that is too large to be offered whole."""
        buffers = self._buffers
        start = buffers._offset
        with (
            memoryview(buffers._chunks[buffers._index]) as chunk,
            chunk[start : start + MAX_OFFERED] as part,
        ):
            sent, whole = calls.send_pointed(fd, [part], 0)
        buffers._consume(sent)
        return sent, whole
