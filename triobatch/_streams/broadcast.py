"""One payload to many streams: one pass in C, then a nursery for the slow.

Most peers of a hub have room for a message, so most of a broadcast is one pass
over the descriptors, without a wait: 5 us a stream, nearly all of it in the
kernel, where ``send_all`` takes 27. What that pass could not send goes on in a
task for each stream, so that a slow peer holds up no other.

A stream on which another task is sending is reported as busy, and not waited
for: Trio has no queue of senders
(https://github.com/python-trio/trio/issues/328). A hub that sends its clients
other things too shares the streams (``open_shared_stream``): a message to
one of those is queued whole, behind what is queued there, or not at all.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from typing import Any, Protocol, cast

import trio
from trio.lowlevel import (
    cancel_shielded_checkpoint,
    checkpoint_if_cancelled,
    enable_ki_protection,
)

from triobatch._core import calls
from triobatch._queues.buffers import Buffers
from triobatch._queues.views import list_of, view_of_bytes
from triobatch._streams.broadcast_result import BroadcastResult, S
from triobatch._streams.outermost import defines_first
from triobatch._streams.plain import is_plain
from triobatch._streams.sending import SendHalf
from triobatch._streams.stream import BatchSocketStream
from triobatch._wire.hints import Buffer


class _Shared(Protocol):
    def queue_nowait(self, data: bytes) -> None: ...

    def _idle_stream(self) -> BatchSocketStream | None:
        """Return the stream below, if nothing is queued for it."""

    def _sent_past(self, message: bytes, sent: int) -> None:
        """Note that so much of a message was sent on it; queue the rest."""


_STREAM_ERRORS = (
    trio.BrokenResourceError,
    trio.BusyResourceError,
    trio.ClosedResourceError,
)


@enable_ki_protection
async def broadcast(
    streams: Iterable[S],
    data: Buffer | Buffers,
    *,
    result: BroadcastResult[S] | None = None,
) -> BroadcastResult[S]:
    """Send the same bytes to many streams.

    First every ``BatchSocketStream`` is tried without waiting, all of them in
    one call of the C core. Those that did not take all of it, and streams of
    other kinds, go on concurrently in a nursery. No stream waits for another.
    A subclass that sends in a way of its own is of another kind: its
    ``send_buffers`` is called, or its ``send_all`` if that is newer. On a
    ``SharedStream`` the message is queued, or it is full; neither is waited
    for. If nothing is queued there, and the stream below is a
    ``BatchSocketStream``, it is sent at once, and its rest queued. ::

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
      TypeError: one of ``streams`` cannot send, ``data`` does not have the
        buffer protocol, or ``result`` is something else.
      ValueError: a stream is given twice.
      BufferError: ``data`` is not contiguous.
      MemoryError: ``data`` is a ``Buffers`` of more than memory holds.

    A stream that is broken, closed, or busy sending for another task is in the
    result, and not an exception. When the call is cancelled each stream has
    got all, nothing, or the first ``sent`` bytes, which the result tells, and
    after which the rest may be sent to it.
    """
    targets = _as_streams(streams)
    payload = _as_payload(data)
    if result is None:
        result = BroadcastResult()
    elif not isinstance(result, BroadcastResult):
        raise TypeError(
            f"result must be a BroadcastResult, not {type(result).__name__}"
        )
    result._start(targets, len(payload))
    await checkpoint_if_cancelled()
    left = _try_each(result, targets, payload, at_once=bool(payload))
    if not left:
        await cancel_shielded_checkpoint()
        return result
    async with trio.open_nursery() as nursery:
        for index in left:
            stream = targets[index]
            if is_plain(stream):
                # Held from now on, so that no other task's bytes get into the
                # middle of the message.
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
    streams: Iterable[S], data: Buffer | Buffers
) -> BroadcastResult[S]:
    """Send the same bytes to many streams, as far as they take them now.

    Args:
      streams: Where to, each of them once: ``BatchSocketStream`` and
        ``SharedStream``. One that sends in a way of its own needs a
        ``send_buffers_nowait`` of its own, which is called.
      data: A bytes-like object, or a ``Buffers``, which is not consumed.

    Returns:
      What became of each stream. One that is ``"partial"`` has the first
      ``sent`` bytes of the message, and is of use only for the rest of it.

    Raises:
      TypeError: one of ``streams`` is neither, or has a
        ``send_all`` or ``send_buffers`` of its own that is newer than its
        ``send_buffers_nowait``; or ``data`` does not have the buffer
        protocol.
      ValueError: a stream is given twice.
      BufferError: ``data`` is not contiguous.
      MemoryError: ``data`` is a ``Buffers`` of more than memory holds.

    Synchronous, and not a checkpoint. For servers that drop slow peers. On a
    ``SharedStream`` several of these leave together at the next checkpoint.
    """
    targets = _as_streams(streams)
    for stream in {type(stream): stream for stream in targets}.values():
        if not is_plain(stream) and not _is_shared(stream):
            _check_sends_nowait(type(stream))
    payload = _as_payload(data)
    result: BroadcastResult[S] = BroadcastResult()
    result._start(targets, len(payload))
    for index in _try_each(result, targets, payload, at_once=False):
        if not is_plain(targets[index]):
            _send_nowait(result, index, targets[index], payload)
    return result


def _as_streams(streams: Iterable[S]) -> list[S]:
    if type(streams) in (list, tuple):
        targets = list(streams)
    else:
        targets = list_of(streams, "streams", "streams")
    for kind in set(map(type, targets)):
        if not issubclass(kind, trio.abc.SendStream):
            _check_each(targets)
    if len(set(map(id, targets))) != len(targets):
        raise ValueError("streams must be different, and one is given twice")
    return targets


def _check_each(targets: Iterable[object]) -> None:
    # A proxy may say of itself that it is one.
    for stream in targets:
        if not isinstance(stream, trio.abc.SendStream):
            raise TypeError(
                "streams must be of trio.abc.SendStream, "
                f"not {type(stream).__name__}"
            )


def _is_shared(stream: trio.abc.SendStream) -> bool:
    """Tell whether a stream queues whole messages, as ``SharedStream``."""
    return defines_first(type(stream), "queue_nowait", "send_all")


def _check_sends_nowait(kind: type) -> None:
    """Refuse a type that can't send now, or only round its own way to send."""
    for other in ("send_all", "send_buffers"):
        if not defines_first(kind, "send_buffers_nowait", other):
            lacks = (
                f", whose {other} send_buffers_nowait would bypass"
                if BatchSocketStream in kind.__mro__
                else ""
            )
            raise TypeError(
                "broadcast_nowait requires BatchSocketStreams, "
                f"not {kind.__name__}{lacks}"
            )


def _as_payload(data: Buffer | Buffers) -> bytes:
    if type(data) is bytes:
        return data
    if isinstance(data, Buffers):
        return bytes(data)
    with view_of_bytes(data, "data") as view:
        return bytes(view)


def _try_each(
    result: BroadcastResult[Any],
    targets: Sequence[trio.abc.SendStream],
    payload: bytes,
    *,
    at_once: bool,
) -> list[int]:
    """Send what can be sent now; return the places of those with a rest.

    Args:
      result: What becomes of them.
      targets: The streams.
      payload: What to send.
      at_once: Whether to send past the queue of a shared stream, if it is
        empty. What is queued leaves with what else is until the next
        checkpoint.
    """
    size = len(payload)
    fds: list[int] = []
    tried: list[tuple[int, SendHalf]] = []
    # Those of them that are below shared streams.
    below: dict[int, _Shared] = {}
    # Behind it all: nothing is queued where one is not what it has to be, and
    # no code of anybody's runs between asking for a number and its use.
    queueing: list[tuple[int, _Shared]] = []
    failed: list[tuple[int, Exception]] = []
    left: list[int] = []
    # Asked once for neighbours of a kind: a frame less for each.
    kind, is_of_plain_kind = object, False
    for index, stream in enumerate(targets):
        if type(stream) is not kind:
            kind, is_of_plain_kind = type(stream), is_plain(stream)
        plain: Any = stream
        if not is_of_plain_kind:
            if not _is_shared(stream):
                left.append(index)
                continue
            shared = cast("_Shared", stream)
            plain = _stream_below(shared) if at_once else None
            if plain is None:
                queueing.append((index, shared))
                continue
            below[index] = shared
        try:
            fds.append(plain._prepare_send(size))
        except _STREAM_ERRORS as error:
            failed.append((index, error))
        else:
            tried.append((index, plain._send))
    answers = calls.broadcast(fds, payload)
    for (index, half), answer in zip(tried, answers, strict=True):
        try:
            sent = half.account_for(size, answer)
        except _STREAM_ERRORS as error:
            _fail(result, index, below, payload, error)
            continue
        if index in below:
            below[index]._sent_past(payload, sent)
            result._queued.add(index)
            sent = size
        elif sent != size:
            left.append(index)
        result._sent[index] = sent
    if queueing:
        with ExitStack() as held:
            # What a queue_nowait of somebody's own sends must not get into
            # the middle of the message.
            for stream in map(targets.__getitem__, left):
                if is_plain(stream):
                    held.enter_context(stream._send_guard)
            for index, shared in queueing:
                _queue(result, index, shared, payload)
    for index, why in failed:
        _fail(result, index, below, payload, why)
    return left


def _fail(
    result: BroadcastResult[Any],
    index: int,
    below: dict[int, _Shared],
    payload: bytes,
    error: Exception,
) -> None:
    if index in below:
        # Its sender finds the same, and tells all who send.
        _queue(result, index, below[index], payload)
        result._sent[index] = 0
    result._fail(index, error)


def _stream_below(shared: _Shared) -> BatchSocketStream | None:
    if defines_first(type(shared), "_idle_stream", "queue_nowait"):
        return shared._idle_stream()
    return None


def _queue(
    result: BroadcastResult[Any],
    index: int,
    shared: _Shared,
    payload: bytes,
) -> None:
    try:
        shared.queue_nowait(payload)
    except trio.WouldBlock:
        result._full.add(index)
    except Exception as error:  # noqa: BLE001 (it is in the result)
        result._fail(index, error)
    else:
        result._queued.add(index)
        result._sent[index] = len(payload)


async def _send_rest(
    result: BroadcastResult[Any],
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
            result._fail(index, error)
        finally:
            result._sent[index] = len(payload) - rest.nbytes


async def _send(
    result: BroadcastResult[Any],
    index: int,
    stream: trio.abc.SendStream,
    payload: bytes,
) -> None:
    result._unknown.add(index)
    try:
        if defines_first(type(stream), "send_buffers", "send_all"):
            await cast("BatchSocketStream", stream).send_buffers((payload,))
        else:
            await stream.send_all(payload)
    except Exception as error:  # noqa: BLE001 (it is in the result)
        # Whatever it is, it must not cancel the others.
        result._fail(index, error)
    else:
        result._sent[index] = len(payload)


def _send_nowait(
    result: BroadcastResult[Any],
    index: int,
    stream: trio.abc.SendStream,
    payload: bytes,
) -> None:
    rest = Buffers([payload])
    try:
        sent = cast("BatchSocketStream", stream).send_buffers_nowait(rest)
    except trio.WouldBlock:
        pass
    except Exception as error:  # noqa: BLE001 (it is in the result)
        result._sent[index] = len(payload) - rest.nbytes
        result._fail(index, error)
    else:
        # It may have sent more than it was given, as a header.
        result._sent[index] = min(sent, len(payload))
