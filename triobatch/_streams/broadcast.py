"""One payload to many streams: one pass in C, then a nursery for the slow.

Most peers of a hub have room for a message, so most of a broadcast is one pass
over the descriptors, without a wait: 5 us a stream, nearly all of it in the
kernel, where ``send_all`` takes 27. What that pass could not send goes on in a
task for each stream, so that a slow peer holds up no other.

A stream on which another task is sending is reported as busy, and not waited
for: Trio has no queue of senders
(https://github.com/python-trio/trio/issues/328). A hub that sends its clients
other things too gives each a ``BatchSender``, and broadcasts with
``send_nowait``.
"""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, TypeAlias, cast

import trio
from trio.lowlevel import (
    cancel_shielded_checkpoint,
    checkpoint_if_cancelled,
    enable_ki_protection,
)

from triobatch._core import calls
from triobatch._core.counts import os_error
from triobatch._queues.buffers import Buffers
from triobatch._queues.views import view_of_bytes
from triobatch._resource import without_frames
from triobatch._streams.outermost import defines_first
from triobatch._streams.plain import is_plain
from triobatch._streams.stream import BatchSocketStream

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from typing_extensions import Buffer

    from triobatch._streams.sending import SendHalf

Status: TypeAlias = Literal[
    "sent", "partial", "unsent", "unknown", "busy", "broken", "closed"
]

_STREAM_ERRORS = (
    trio.BrokenResourceError,
    trio.BusyResourceError,
    trio.ClosedResourceError,
)


@dataclass(frozen=True, slots=True)
class Delivery:
    """What became of a broadcast on one stream.

    Attributes:
      stream: The stream.
      status: ``"sent"``, all of it was; ``"partial"``, a part of it was, and
        the stream is in the middle of it; ``"unsent"``, nothing was.
        ``"broken"`` and ``"closed"``, the stream is. ``"busy"``: another task
        was sending on it, and nothing was sent. ``"unknown"``: cancelled
        within a stream that cannot tell, as ``trio.SSLStream``, which is no
        longer of any use.
      sent: How many bytes were sent, as far as that is known.
      error: Why a stream is ``"broken"``, ``"closed"`` or ``"busy"``. It has
        no traceback, whose frames would keep the payload with it.
    """

    stream: trio.abc.SendStream
    status: Status
    sent: int
    error: Exception | None


class BroadcastResult:
    """What has become of a broadcast so far, stream by stream.

    One that is passed to ``broadcast`` is filled in as it goes, so it tells
    what was done also when the call was cancelled. It iterates over a
    ``Delivery`` for each stream, in the order in which they were given.
    """

    def __init__(self) -> None:
        self._streams: list[trio.abc.SendStream] = []
        self._size = 0
        self._sent: list[int] = []
        # The few that did not get it at once, by their place in the list.
        self._errors: dict[int, Exception] = {}
        self._unknown: set[int] = set()

    def __len__(self) -> int:
        return len(self._streams)

    def __iter__(self) -> Iterator[Delivery]:
        return map(self._delivery, range(len(self._streams)))

    def __repr__(self) -> str:
        whole = len(self) - len(self.missed)
        return f"<BroadcastResult: {whole} of {len(self)} got all>"

    @property
    def sent(self) -> list[Delivery]:
        """Those that got all of it, in the order of the streams."""
        return [
            self._delivery(index)
            for index, sent in enumerate(self._sent)
            if sent == self._size and index not in self._errors
        ]

    @property
    def missed(self) -> list[Delivery]:
        """Those that did not get all of it, in the order of the streams."""
        return [
            self._delivery(index)
            for index, sent in enumerate(self._sent)
            if sent != self._size or index in self._errors
        ]

    def _start(self, streams: list[trio.abc.SendStream], size: int) -> None:
        self._streams = streams
        self._size = size
        self._sent = [0] * len(streams)
        self._errors = {}
        self._unknown = set()

    def _fail(self, index: int, error: Exception) -> None:
        self._errors[index] = without_frames(error)

    def _delivery(self, index: int) -> Delivery:
        sent, error = self._sent[index], self._errors.get(index)
        status: Status
        if isinstance(error, trio.BusyResourceError):
            status = "busy"
        elif isinstance(error, trio.ClosedResourceError):
            status = "closed"
        elif error is not None:
            status = "broken"
        elif sent == self._size:
            status = "sent"
        elif index in self._unknown:
            status = "unknown"
        else:
            status = "partial" if sent else "unsent"
        return Delivery(self._streams[index], status, sent, error)


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
    A subclass that sends in a way of its own is of another kind: its
    ``send_buffers`` is called, or its ``send_all`` if that is newer.
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
    result._start(targets, len(payload))
    await checkpoint_if_cancelled()
    left = _try_each(result, targets, payload)
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
    streams: Iterable[BatchSocketStream], data: Buffer | Buffers
) -> BroadcastResult:
    """Send the same bytes to many streams, as far as they take them now.

    Args:
      streams: Where to, each of them once. A stream that sends in a way of
        its own needs a ``send_buffers_nowait`` of its own, which is called.
      data: A bytes-like object, or a ``Buffers``, which is not consumed.

    Returns:
      What became of each stream. One that is ``"partial"`` has the first
      ``sent`` bytes of the message, and is of use only for the rest of it.

    Raises:
      TypeError: one of ``streams`` is no ``BatchSocketStream``, or has a
        ``send_all`` or ``send_buffers`` of its own that is newer than its
        ``send_buffers_nowait``; or ``data`` does not have the buffer
        protocol.
      ValueError: a stream is given twice.
      BufferError: ``data`` is not contiguous.
      MemoryError: ``data`` is a ``Buffers`` of more than memory holds.

    Synchronous, and not a checkpoint. For servers that drop slow peers.
    """
    targets = _as_streams(streams)
    for stream in targets:
        if not is_plain(stream):
            _check_sends_nowait(type(stream))
    payload = _as_payload(data)
    result = BroadcastResult()
    result._start(targets, len(payload))
    for index in _try_each(result, targets, payload):
        if not is_plain(targets[index]):
            _send_nowait(result, index, targets[index], payload)
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


class _Answers:
    """What one pass over many descriptors came to, one answer a push."""

    __slots__ = ("_answers", "_size")

    def __init__(self, size: int, answers: list[int]) -> None:
        self._size = size
        self._answers = iter(answers)

    def push(self, fd: int) -> tuple[int, bool]:  # noqa: ARG002
        """Tell what ``send(2)`` said of the next descriptor."""
        answer = next(self._answers)
        if answer < 0:
            raise os_error(-answer)
        return answer, answer == self._size


def _try_each(
    result: BroadcastResult, targets: list[trio.abc.SendStream], payload: bytes
) -> list[int]:
    """Send what can be sent now; return the places of those with a rest."""
    size = len(payload)
    fds: list[int] = []
    tried: list[tuple[int, SendHalf]] = []
    left: list[int] = []
    for index, stream in enumerate(targets):
        if not is_plain(stream):
            left.append(index)
            continue
        try:
            fds.append(stream._prepare_send(size))
        except _STREAM_ERRORS as error:
            result._fail(index, error)
        else:
            tried.append((index, stream._send))
    answers = _Answers(size, calls.broadcast(fds, payload))
    for (index, half), fd in zip(tried, fds, strict=True):
        before = half.bytes_sent
        try:
            whole = half._push(answers, fd)
        except _STREAM_ERRORS as error:
            result._fail(index, error)
        else:
            result._sent[index] = half.bytes_sent - before
            if not whole:
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
            result._fail(index, error)
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
    result: BroadcastResult,
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
