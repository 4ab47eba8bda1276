"""The nursery around a batch sender, and what leaving it means."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager
from typing import Final, TypeVar, cast, overload

import trio
from trio.lowlevel import enable_ki_protection

from triobatch._datagrams.abstract_socket import AbstractDatagramSocket
from triobatch._resource import async_scope
from triobatch._senders.datagram_sender import DatagramBatchSender
from triobatch._senders.stream_sender import BatchSender
from triobatch._streams.outermost import keeps
from triobatch._wire.arguments import as_seconds, at_least

# A DatagramBatchSender goes past all of these.
_DATAGRAM_METHODS: Final = tuple(
    f"{name}{twin}"
    for name in (
        "send",
        "send_batch",
        "send_many",
        "send_runs",
        "send_segments",
    )
    for twin in ("", "_nowait")
)

_Sender = TypeVar("_Sender", BatchSender, DatagramBatchSender)

# Four times the 64 KiB at which asyncio holds its writers back: 1000 tasks
# bring those in one tick of the scheduler, with messages of 64 bytes.
DEFAULT_MAX_BUFFERED: Final = 2**18

# Long enough for a peer that is alive to read what a socket's buffer holds,
# short enough for a cancellation.
DEFAULT_GRACE: Final = 1.0


@overload
def open_batch_sender(
    target: trio.abc.SendStream,
    *,
    max_buffered: int = ...,
    grace: float = ...,
) -> AbstractAsyncContextManager[BatchSender]: ...


@overload
def open_batch_sender(
    target: AbstractDatagramSocket,
    *,
    max_buffered: int = ...,
    grace: float = ...,
) -> AbstractAsyncContextManager[DatagramBatchSender]: ...


def open_batch_sender(
    target: trio.abc.SendStream | AbstractDatagramSocket,
    *,
    max_buffered: int = DEFAULT_MAX_BUFFERED,
    grace: float = DEFAULT_GRACE,
) -> AbstractAsyncContextManager[BatchSender | DatagramBatchSender]:
    """Send what many tasks have to send on one target, in batches.

    For the length of the block, a task in a nursery of the block's own sends
    whatever has piled up, all of it with one call: a lone message leaves at
    once, and batches grow with load. ::

        async with triobatch.open_batch_sender(stream) as sender:
            async with trio.open_nursery() as nursery:
                for request in requests:
                    nursery.start_soon(answer, request, sender)

    Args:
      target: A ``BatchSocketStream``, or any other ``trio.abc.SendStream``,
        such as ``trio.SSLStream``, on which nobody else sends during the
        block; or a ``DatagramSocket``, or any other
        ``AbstractDatagramSocket``, with whose own methods it takes turns.
      max_buffered: Bytes. ``send`` waits while more than this is buffered, so
        it is never more than this and one message.
      grace: Seconds that a message which is part-way out may take to be
        finished, when the block is left by an exception.

    Returns:
      A context manager, for a ``BatchSender``, or a ``DatagramBatchSender``.

    Raises:
      TypeError: ``target`` is none of these, or a ``DatagramSocket`` whose
        class sends in a way of its own; or ``max_buffered`` is no integer.
      ValueError: ``max_buffered`` or ``grace`` is negative.
      trio.BusyResourceError: on entry, another task is sending on the
        ``DatagramSocket``, or another batch sender is there.
      trio.BrokenResourceError: at the end of the block, the target had
        broken, and messages are unsent.
      trio.ClosedResourceError: at the end of the block, the target was
        closed, and messages are unsent.
      trio.BusyResourceError: somebody else is sending on the target, now or
        when it is the sender's turn; then the block is cancelled.

    A stream whose class has a ``send_buffers`` or ``send_all`` of its own is
    sent to with that, as any other ``trio.abc.SendStream``. A
    ``DatagramSocket`` of such a class is refused: nothing that it could
    override tells what became of each datagram, and takes back one.

    The number of messages is bounded too: to a 64th of ``max_buffered``, or
    1024 if that is more, where a ``Buffers`` counts as 9 messages and each of
    its chunks as 4. For datagrams ``max_buffered`` bounds what ``queue`` and
    ``send_nowait`` let in; each ``send`` waits for its own datagrams anyway.

    On an unconnected Unix socket a peer whose queue is full holds up the
    datagrams to itself, and no others, until what it has not read fills the
    socket's own buffer (SO_SNDBUF), which is the kernel's limit for all.

    Leaving the block normally lets in no more messages, waits until all that
    are queued were sent, and returns. Leaving it by an exception, or being
    cancelled in that wait, stops at a message boundary: a message that is
    part-way out (and through TLS, a batch of up to 64 KiB) has the grace time
    to be finished, against cancellation too. ``sender.unsent``,
    ``sender.unfinished`` and ``sender.uncertain`` tell afterwards what was not
    sent. A datagram is whole or not there, so there the block is left at once.
    The target is left open.

    A ``KeyboardInterrupt`` in the block gives no grace, and one in the grace
    time ends it. Trio raises it in the main task. So a block in another task
    sees the first Ctrl-C as a cancellation, which gives the grace time, and
    does not see later ones; so does a block anywhere in a program that makes
    Ctrl-C a cancellation itself, as with ``trio.open_signal_receiver``.
    """
    size, seconds = check_room(max_buffered, grace)
    if AbstractDatagramSocket in type(target).__mro__:
        plain = _plain_socket(target)
        return _sharing(plain, DatagramBatchSender(plain, size))
    if isinstance(target, trio.abc.SendStream):
        return _running(BatchSender(target, size, seconds))
    raise TypeError(
        "target must be a trio.abc.SendStream or a DatagramSocket, "
        f"not {type(target).__name__}"
    )


@async_scope
@enable_ki_protection
async def _sharing(
    target: AbstractDatagramSocket, sender: DatagramBatchSender
) -> AsyncIterator[DatagramBatchSender]:
    """Let the sender take turns with those who send on the socket itself."""
    with target._send.shared():
        async with _running(sender):
            yield sender


def _plain_socket(target: object) -> AbstractDatagramSocket:
    """Return a socket whose class sends as all datagram sockets do."""
    kind: type = type(target)
    if not keeps(kind, AbstractDatagramSocket, _DATAGRAM_METHODS):
        raise TypeError(
            "target must be a DatagramSocket that sends as that does, not "
            f"{kind.__name__}, whose own sending would be bypassed"
        )
    return cast("AbstractDatagramSocket", target)


# Ctrl-C between the end of the block and stopping the task would leave that,
# which is shielded, running for ever. The block itself can be interrupted.
@async_scope
@enable_ki_protection
async def _running(sender: _Sender) -> AsyncIterator[_Sender]:
    sender._task.check_target()
    left_by: BaseException | None = None
    async with trio.open_nursery() as nursery:
        nursery.start_soon(sender._task.run)
        try:
            with sender._task.body:
                yield sender
                await sender._task.send_the_rest()
            sender._task.raise_if_busy()
        except BaseException as error:  # noqa: BLE001 (raised again below)
            left_by = error
            sender._task.stop()
            if isinstance(error, KeyboardInterrupt):
                sender._task.hurry()
        while True:
            try:
                with trio.CancelScope(shield=True):
                    await sender._task.wait_ended()
                break
            except KeyboardInterrupt as error:
                left_by = error
                sender._task.hurry()
        if left_by is not None and nursery.cancel_scope.cancel_called:
            # The sending task crashed: the nursery groups the two errors.
            raise left_by
    if left_by is not None:
        # Out here, so that the nursery does not wrap it in a group.
        try:
            raise left_by
        finally:
            # Its traceback holds this frame, which must not hold it.
            del left_by


def check_room(max_buffered: int, grace: float) -> tuple[int, float]:
    """Return both.

    Raises:
      TypeError, ValueError: one is no integer, no number, or negative.
    """
    return (
        at_least(0, max_buffered, "max_buffered"),
        as_seconds(grace, "grace"),
    )
