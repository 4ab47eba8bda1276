"""One payload to many streams: one pass in C, then a nursery for the slow.

Most peers of a hub have room for a message, so most of a broadcast is one pass
over the descriptors, without a wait: 5 us a stream, nearly all of it in the
kernel, where ``send_all`` takes 27. What that pass could not send goes on in a
task for each stream, so that a slow peer holds up nobody but its own end of
the call.

A stream on which another task is sending is not waited for: whatever came
between that task's bytes would corrupt them, and Trio has no queue of senders
(https://github.com/python-trio/trio/issues/328). It is reported as busy. A hub
whose clients are sent other things too gives each a ``BatchSender``, and
broadcasts with ``send_nowait``.
"""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING

import trio
from trio.lowlevel import (
    cancel_shielded_checkpoint,
    checkpoint_if_cancelled,
    enable_ki_protection,
)

from triobatch._core import calls
from triobatch._queues.buffers import Buffers
from triobatch._queues.views import view_of_bytes
from triobatch._streams.broadcast_result import BroadcastResult
from triobatch._streams.stream import BatchSocketStream

if TYPE_CHECKING:
    from collections.abc import Iterable

    from typing_extensions import Buffer

_STREAM_ERRORS = (
    trio.BrokenResourceError,
    trio.BusyResourceError,
    trio.ClosedResourceError,
)


@enable_ki_protection
async def broadcast(
    streams: Iterable[trio.abc.SendStream],
    data: Buffer | Buffers,
    *,
    result: BroadcastResult | None = None,
) -> BroadcastResult:
    """Send the same bytes to many streams.

    First every ``BatchSocketStream`` is tried without waiting, all of them in
    one call of the C core. Those that did not take all of it, and streams of
    other kinds, go on concurrently in a nursery. No stream waits for another.
    ::

        result = triobatch.BroadcastResult()
        with trio.move_on_after(1):
            await triobatch.broadcast(clients, message, result=result)
        for delivery in result.missed:
            drop(delivery.stream)

    Args:
      streams: Where to, each of them once.
      data: A bytes-like object, or a ``Buffers``, which is not consumed.
        ``bytes`` are not copied; anything else is, once.
      result: A ``BroadcastResult`` to be filled in, which tells what was done
        when the call is cancelled.

    Returns:
      What became of each stream: ``result``, if it was given.

    Raises:
      TypeError: one of ``streams`` cannot send, or ``data`` does not have the
        buffer protocol.
      ValueError: a stream is given twice.
      BufferError: ``data`` is not contiguous.

    A stream that is broken, closed, or busy sending for another task is in the
    result, and not an exception. When the call is cancelled each stream has
    got all, nothing, or the first ``sent`` bytes, which the result tells, and
    after which the rest may be sent to it.
    """
    targets = _as_streams(streams)
    payload = _as_payload(data)
    if result is None:
        result = BroadcastResult()
    result._start(targets, len(payload))
    await checkpoint_if_cancelled()
    left = _try_each(result, targets, payload)
    if not left:
        await cancel_shielded_checkpoint()
        return result
    async with trio.open_nursery() as nursery:
        for index in left:
            stream = targets[index]
            if isinstance(stream, BatchSocketStream):
                # Held from now on, before another task can send in the middle
                # of the message.
                held = ExitStack()
                held.enter_context(stream._send_guard)
                nursery.start_soon(
                    _send_rest, result, index, stream, payload, held
                )
            else:
                nursery.start_soon(_send, result, index, stream, payload)
    return result


@enable_ki_protection
def broadcast_nowait(
    streams: Iterable[BatchSocketStream], data: Buffer | Buffers
) -> BroadcastResult:
    """Send the same bytes to many streams, as far as they take them now.

    Args:
      streams: Where to, each of them once.
      data: A bytes-like object, or a ``Buffers``, which is not consumed.

    Returns:
      What became of each stream. One that is ``"partial"`` has the first
      ``sent`` bytes of the message, and is of use only for the rest of it.

    Raises:
      TypeError: one of ``streams`` is no ``BatchSocketStream``, or ``data``
        does not have the buffer protocol.
      ValueError: a stream is given twice.
      BufferError: ``data`` is not contiguous.

    Synchronous, and not a checkpoint. For servers that drop slow peers.
    """
    targets = _as_streams(streams)
    for stream in targets:
        if not isinstance(stream, BatchSocketStream):
            raise TypeError(
                "broadcast_nowait requires BatchSocketStreams, "
                f"not {type(stream).__name__}"
            )
    payload = _as_payload(data)
    result = BroadcastResult()
    result._start(targets, len(payload))
    _try_each(result, targets, payload)
    return result


def _as_streams(
    streams: Iterable[trio.abc.SendStream],
) -> list[trio.abc.SendStream]:
    targets = list(streams)
    for stream in targets:
        if not isinstance(stream, trio.abc.SendStream):
            raise TypeError(
                "streams must be of trio.abc.SendStream, "
                f"not {type(stream).__name__}"
            )
    if len(set(map(id, targets))) != len(targets):
        raise ValueError("streams must be different, and one is given twice")
    return targets


def _as_payload(data: Buffer | Buffers) -> bytes:
    if type(data) is bytes:
        return data
    if isinstance(data, Buffers):
        return bytes(data)
    with view_of_bytes(data, "data") as view:
        return bytes(view)


def _try_each(
    result: BroadcastResult, targets: list[trio.abc.SendStream], payload: bytes
) -> list[int]:
    """Send what can be sent now; return the places of those with a rest."""
    size = len(payload)
    fds: list[int] = []
    tried: list[tuple[int, BatchSocketStream]] = []
    left: list[int] = []
    for index, stream in enumerate(targets):
        if not isinstance(stream, BatchSocketStream):
            left.append(index)
            continue
        try:
            fds.append(stream._prepare_send(size))
        except _STREAM_ERRORS as error:
            result._errors[index] = error
        else:
            tried.append((index, stream))
    answers = calls.broadcast(fds, payload)
    for (index, stream), answer in zip(tried, answers, strict=True):
        try:
            sent = stream._send.account(size, answer)
        except _STREAM_ERRORS as error:
            result._errors[index] = error
        else:
            result._sent[index] = sent
            if sent != size:
                left.append(index)
    return left


async def _send_rest(
    result: BroadcastResult,
    index: int,
    stream: BatchSocketStream,
    payload: bytes,
    held: ExitStack,
) -> None:
    rest = Buffers([payload])
    rest.consume(result._sent[index])
    with held:
        try:
            await stream._send.send(rest)
        except _STREAM_ERRORS as error:
            result._errors[index] = error
        finally:
            result._sent[index] = len(payload) - rest.nbytes


async def _send(
    result: BroadcastResult,
    index: int,
    stream: trio.abc.SendStream,
    payload: bytes,
) -> None:
    result._unknown.add(index)
    try:
        await stream.send_all(payload)
    except Exception as error:  # noqa: BLE001 (it is in the result)
        # Of whatever kind: the others must not be cancelled for it.
        result._errors[index] = error
    else:
        result._sent[index] = len(payload)
