"""Batches for streams of any kind."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from typing import Protocol, cast

import trio
from trio.lowlevel import enable_ki_protection

from triobatch._queues.buffers import Buffers, drop, first_piece
from triobatch._queues.views import check_chunks
from triobatch._resource import Claim
from triobatch._streams.outermost import defines_first, takes_messages
from triobatch._wire.hints import Buffer

# How many bytes are offered to ``send_all`` at a time. Four full TLS records
# of 16 KiB (RFC 8446, section 5.1): an SSLStream makes one for each 16 KiB,
# and one more for what is left over, so pieces of whole records waste none.
PIECE_SIZE = 4 * 16384


class _SendsBuffers(Protocol):
    async def send_buffers(
        self, buffers: Buffers | Iterable[Buffer]
    ) -> int: ...


async def send_buffers(
    stream: trio.abc.SendStream, buffers: Buffers | Iterable[Buffer]
) -> int:
    """Send chunks on any stream, with few calls of its methods.

    A stream that has a ``send_buffers`` method of its own, as
    ``BatchSocketStream``, is left to it. Only the type of the outermost object
    is asked: what a wrapper wraps must not be written to behind its back, nor
    what a subclass derives from. Any other stream is given pieces of up to
    64 KiB with ``send_all``, never a call a chunk.

    Args:
      stream: A ``trio.abc.SendStream``: ``trio.SSLStream`` (whose TLS records
        are filled), ``trio.StapledStream``, a memory stream.
      buffers: A ``Buffers``, consumed as it is sent; or any iterable of
        bytes-like objects, which is left as it is.

    Returns:
      The bytes sent, which is all that there was.

    Raises:
      TypeError: ``stream`` cannot send, or a chunk does not have the buffer
        protocol.
      BufferError: a chunk is not contiguous.
      trio.BusyResourceError: another task is sending on this stream, or
        sending these buffers.
      trio.ClosedResourceError: this stream was closed.
      trio.BrokenResourceError: the connection broke.

    After an exception, ``Cancelled`` included, a ``Buffers`` holds what was
    not yet sent, with the piece on its way counted as not sent. Only a raw
    socket can tell how much of that piece went (``BatchSocketStream`` does);
    through TLS the stream is broken by then.
    """
    if defines_first(type(stream), "send_buffers", "send_all"):
        return await cast("_SendsBuffers", stream).send_buffers(buffers)
    if not isinstance(stream, trio.abc.SendStream):
        raise TypeError(
            f"stream must be a trio.abc.SendStream, not "
            f"{type(stream).__name__}"
        )
    if isinstance(buffers, Buffers):
        return await _send_pieces(stream, buffers)
    if type(buffers) not in (list, tuple):
        check_chunks(buffers, "buffers")
    own = Buffers(buffers)
    try:
        return await _send_pieces(stream, own)
    finally:
        own.clear()


# Ctrl-C comes out of send_all then, and not after it, when the piece was sent.
@enable_ki_protection
async def _send_pieces(stream: trio.abc.SendStream, buffers: Buffers) -> int:
    sent = 0
    # Where others may send in between, a piece is all of it.
    piece_size = sys.maxsize if takes_messages(stream) else PIECE_SIZE
    with Claim(buffers):
        if not buffers:
            # It knows whether it is closed, and it is a checkpoint.
            await stream.send_all(b"")
        while buffers:
            # Released even when a traceback keeps it alive, so that the chunk
            # can be let go of.
            with memoryview(first_piece(buffers, piece_size)) as piece:
                size = len(piece)
                await stream.send_all(piece)
            drop(buffers, size)
            sent += size
    return sent
