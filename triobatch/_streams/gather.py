"""How a batch meets the kernel: small chunks copied, large ones pointed at.

The kernel pays 20-80 ns for an iovec, and building one from a Python object
costs 4 ns with the chunk extension, 165 without. Copying 64 bytes costs less
than 5. So one ``send`` of joined bytes beats ``sendmsg`` of small chunks (0.4
to 0.9 of its time up to about 4 KiB each), and loses to it with large ones
(1.1 times and more from 16 KiB on; loopback TCP, 16 to 256 chunks).

The size and one look at the average decide, of a list and of a ``Buffers``
alike, each time that a piece is needed. Measuring every chunk to treat runs of
small and large ones apart gained nothing: the loop ate it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from triobatch._core import calls
from triobatch._core.chunks import COPY_SIZE, IOV_MAX, locate
from triobatch._queues.buffers import drop, position

if TYPE_CHECKING:
    from triobatch._queues.buffers import Buffers
    from triobatch._wire.hints import Buffer

# Chunks that average fewer bytes than this are copied into one piece, because
# that costs less than an iovec for each. Copied and pointed to, in us of the
# sender's processor time over loopback: 64 x 2 KiB 24 and 37, 64 x 4 KiB 41
# and 48, 32 x 8 KiB 42 and 44, 32 x 16 KiB 75 and 70.
COPY_BELOW: Final = 8192

# A batch of no more bytes is copied whatever its chunks are. That saves a list
# becoming a Buffers, 2.3 us of 14, and costs a Buffers up to 1.1 of 9: a
# ``send_buffers_nowait`` over loopback takes 0.92 to 0.98 of the time with 8
# and 16 KiB, 1.03 with 32 and 1.08 to 1.14 with 64.
COPY_WHOLE: Final = 2**16

# How many bytes are pointed at in one system call. With a peer that keeps up,
# one sendmsg(2) of 500 MB took 28 ms over TCP and 50 over a Unix socket, in
# which nothing else ran; net.ipv4.tcp_wmem lets a TCP socket hold 4 MiB.
MAX_OFFERED: Final = 2**22


def send_list(
    fd: int, chunks: list[Buffer]
) -> tuple[int, bytes | memoryview | None] | None:
    """Send a list of bytes whole, with one call, if it is to be one piece.

    It needs not become a ``Buffers`` first then, which saves 10 us of 55 for
    1024 x 64 bytes. Call it with Ctrl-C held off, as ``Gather.push``.

    Returns:
      The bytes sent, 0 if the call would block, and what is left of the
      piece, or None; for any other list None, and no call was made.

    Raises:
      OSError: the call failed.
    """
    count = len(chunks)
    first = chunks[0] if count else None
    # One look at the first tells most lists that are something else, or too
    # large. The few that it is wrong about are copied as a Buffers.
    if type(first) is not bytes:
        return None
    if count == 1:
        # Not copied, so it may be large.
        room = MAX_OFFERED
    else:
        room = COPY_BELOW * count - 1
        if room < COPY_WHOLE:
            room = COPY_WHOLE
        elif room > COPY_SIZE:
            room = COPY_SIZE
    if len(first) * count > room:
        return None
    return calls.send_list(fd, chunks, room)


class Gather:
    """One send of one ``Buffers``: what was begun, and how to go on.

    Attributes:
      left: The bytes that the last push left, or all that there were.
    """

    __slots__ = ("_buffers", "_short", "_vector", "left")

    def __init__(self, buffers: Buffers) -> None:
        self._buffers = buffers
        self._vector: calls.Vector | None = None
        self._short = False
        self.left = buffers.nbytes

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
        chunks, index, offset, size = position(self._buffers)
        # Whatever was added since the last push counts from here on.
        self.left = size
        if self._vector is not None:
            sent, whole = self._vector.send(fd)
        elif size <= COPY_WHOLE or size < COPY_BELOW * (len(chunks) - index):
            sent, whole = calls.send_copied(fd, chunks, index, offset)
        else:
            # It points to the chunks, which stay queued until they are sent.
            # Most batches go in one call; one that does not is worth an array
            # of its own.
            stop = index + IOV_MAX
            if size > MAX_OFFERED:
                end, _ = locate(chunks, index, offset, MAX_OFFERED)
                if end == index:
                    return self._push_part(fd)
                stop = min(stop, end)
            window = chunks[index:stop]
            if self._short:
                self._vector = calls.Vector(window, offset)
                sent, whole = self._vector.send(fd)
            else:
                sent, whole = calls.send_pointed(fd, window, offset)
        self.left = drop(self._buffers, sent)
        if whole:
            self._vector = None
        self._short = not whole
        return sent, whole

    def _push_part(self, fd: int) -> tuple[int, bool]:
        """Send from a chunk that is too large to be offered whole."""
        chunks, index, offset, _ = position(self._buffers)
        with (
            memoryview(chunks[index]) as chunk,
            chunk[offset : offset + MAX_OFFERED] as part,
        ):
            sent, whole = calls.send_pointed(fd, [part], 0)
        self.left = drop(self._buffers, sent)
        return sent, whole
