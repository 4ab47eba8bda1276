"""The nursery around a batch sender, and what leaving it means."""

from __future__ import annotations

import math
import operator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Final

import trio

from triobatch._batch_sender import BatchSender

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

# asyncio holds its writers back at 64 KiB. A scheduler tick of 1000 tasks
# brings that many bytes in messages of 64, so it is four times that.
DEFAULT_MAX_BUFFERED: Final = 2**18

# Long enough for a peer that is alive to read what a socket's buffer holds,
# short enough for a cancellation.
DEFAULT_GRACE: Final = 1.0


@asynccontextmanager
async def open_batch_sender(
    target: trio.abc.SendStream,
    *,
    max_buffered: int = DEFAULT_MAX_BUFFERED,
    grace: float = DEFAULT_GRACE,
) -> AsyncIterator[BatchSender]:
    """Send the messages of many tasks on one stream, in batches.

    For the length of the block, a task in a nursery of the block's own sends
    whatever has piled up, all of it with one call: a lone message leaves at
    once, and batches grow with load. ::

        async with triobatch.open_batch_sender(stream) as sender:
            async with trio.open_nursery() as nursery:
                for request in requests:
                    nursery.start_soon(answer, request, sender)

    Args:
      target: A ``BatchSocketStream``, or any other ``trio.abc.SendStream``,
        such as ``trio.SSLStream``. Nobody else sends on it during the block.
      max_buffered: Bytes. ``send`` waits while more than this is buffered, so
        it is never more than this and one message.
      grace: Seconds that a message which is part-way out may take to be
        finished, when the block is left by an exception.

    Raises:
      TypeError: ``target`` is no ``SendStream``, or ``max_buffered`` no
        integer.
      ValueError: ``max_buffered`` or ``grace`` is negative.
      trio.BrokenResourceError: at the end of the block, the connection had
        broken, and messages are unsent.
      trio.ClosedResourceError: likewise, ``target`` was closed.

    Leaving the block normally lets in no more messages, waits until all that
    are queued were sent, and returns. Leaving it by an exception, or being
    cancelled in that wait, stops at a message boundary: a message that is
    part-way out (and through TLS, a batch of up to 64 KiB) has the grace time
    to be finished, against cancellation too. ``sender.unsent`` tells
    afterwards what was not sent. The target is left open.
    """
    sender = BatchSender(
        _as_stream(target), _as_size(max_buffered), _as_seconds(grace)
    )
    left_by: BaseException | None = None
    async with trio.open_nursery() as nursery:
        nursery.start_soon(sender._sending.run)
        try:
            yield sender
            await sender._send_the_rest()
        except BaseException as error:  # noqa: BLE001 (raised again below)
            left_by = error
            sender._sending.stop()
        with trio.CancelScope(shield=True):
            await sender._sending.wait_ended()
        if left_by is not None and nursery.cancel_scope.cancel_called:
            # The sending task crashed: the two errors go as a group.
            raise left_by
    if left_by is not None:
        # Out here, so that the nursery does not wrap it in a group.
        try:
            raise left_by
        finally:
            # It holds this frame, which must not hold it.
            del left_by


def _as_stream(target: object) -> trio.abc.SendStream:
    if not isinstance(target, trio.abc.SendStream):
        raise TypeError(
            "target must be a trio.abc.SendStream, "
            f"not {type(target).__name__}"
        )
    return target


def _as_size(max_buffered: int) -> int:
    size = operator.index(max_buffered)
    if size < 0:
        raise ValueError(f"max_buffered must be at least 0, not {size}")
    return size


def _as_seconds(grace: float) -> float:
    if math.isnan(grace) or grace < 0:
        raise ValueError(f"grace must be at least 0, not {grace}")
    return grace
