"""Many tasks, one stream: what they call, and the task that sends.

Why everything goes through the one task
----------------------------------------
The first message on an idle connection could be tried at once, from the task
that brings it. But that task often brings more before it yields, a header and
then a body, and each would be a packet of its own. Through the sending task
they leave together, one trip through the scheduler later, and there is one
place where the stream is used and one where it breaks.

A message is queued when ``send`` returns, not sent. A writer task with one
event for all its callers is how trio-websocket came to tell one that its
message was sent and to leave the next waiting for ever
(https://github.com/python-trio/trio-websocket/issues/12). So whoever waits
here has an entry of its own, that is taken out once, by whichever comes first:
room, the kernel, a cancellation, or the end.

A broadcast has nothing to bring after its one message, and a pass through the
scheduler for each of its streams is four fifths of what it costs. So it sends
past a task that has nothing to do, and leaves it what the kernel did not take.

How it stops between two messages
---------------------------------
A ``BatchSocketStream`` consumes a ``Buffers`` exactly, so there the send is
cancelled at once, and what is left of the message that was part-way out gets
the grace time. Any other stream gets batches of one ``send_all`` each, or of
one message that takes several, and the grace time is for the batch on its way.
If that is cancelled within ``send_all``, nobody can say what was sent, and a
TLS connection is broken: the batch is neither sent nor unsent.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Hashable, Iterable
from time import perf_counter

import trio
from trio.lowlevel import (
    cancel_shielded_checkpoint,
    checkpoint_if_cancelled,
    current_task,
    enable_ki_protection,
)

from triobatch._queues.buffers import Buffers, drop
from triobatch._queues.views import view_of_bytes
from triobatch._resource import Claim
from triobatch._senders.stream_batch import Batch
from triobatch._senders.stream_outbox import StreamOutbox
from triobatch._senders.task import Sender, SendingTask, reschedule_all
from triobatch._streams.plain import is_plain
from triobatch._streams.send_buffers import PIECE_SIZE, send_buffers
from triobatch._streams.stream import BatchSocketStream
from triobatch._wire.hints import Buffer


class BatchSender(Sender):
    """Sends the messages of any number of tasks; see ``open_batch_sender``.

    Messages leave in the order of the calls, each of them contiguous. A
    message is ``bytes``, which is never copied; or any other bytes-like
    object, which is copied, so that it can be used again at once; or a
    ``Buffers``, whose chunks become one message, without a copy, and which is
    empty afterwards. Its mutable chunks stay exported until they are sent.
    """

    def __init__(
        self, target: trio.abc.SendStream, max_buffered: int, grace: float
    ) -> None:
        self._target = target
        self._task: StreamSendingTask = StreamSendingTask(
            target, max_buffered, grace
        )
        self._outbox = self._task.outbox
        self._gathering = self._task.gathering

    @property
    def unsent(self) -> list[bytes]:
        """The messages of which nothing was sent, in order.

        Empty until the block was left, or the stream broke. What comes before
        these, in the order of the calls, is ``unfinished``, or ``uncertain``.
        """
        return self._task.unsent

    @property
    def uncertain(self) -> list[bytes]:
        """Messages of which nobody can say how much was sent, if anything.

        Always empty for a ``BatchSocketStream``. Any other stream, when it
        breaks, or when the grace time is over, does not tell how far it has
        come: these are the messages of the batch that was on its way, 64 KiB
        at most or a single one, whole. After that the stream, if it is TLS,
        is of no more use.
        """
        return self._task.uncertain

    @property
    def unfinished(self) -> bytes:
        """What is left of a message that was begun, and not finished.

        Through another stream than a ``BatchSocketStream`` only a message
        above 64 KiB can be so, and this begins with the last piece of that
        size, of which nobody can say how much was sent. ``b""``, with nothing
        ``uncertain``, means that the stream has stopped at a message boundary,
        and can be used further.
        """
        return self._task.unfinished

    @enable_ki_protection
    async def send(self, data: Buffer | Buffers) -> None:
        """Queue a message; wait while too much is buffered.

        Args:
          data: One message, of any size. An empty one is not queued.

        Raises:
          TypeError: ``data`` does not have the buffer protocol.
          BufferError: it is not contiguous.
          trio.BusyResourceError: ``data`` is a ``Buffers`` that is being sent.
          trio.BrokenResourceError: the connection broke, now or earlier.
          trio.ClosedResourceError: the block was left, or the stream closed.

        After any exception, ``Cancelled`` included, the message is not
        queued, and will not be sent. Tasks that wait for room get it in the
        order of their calls, and nobody overtakes them.

        It can always be cancelled, and yields when the sender had nothing to
        do, so that a lone message leaves at once. While the sender is busy it
        yields every millisecond only: the pieces of a reply that one task
        sends one after the other leave together.
        """
        if type(data) is not bytes:
            if isinstance(data, Buffers):
                return await self._send_gathered(data)
            data = _copy(data)
        await checkpoint_if_cancelled()
        if not self._outbox.put(data):
            await self._wait_for_room(data)
        elif not data:
            await cancel_shielded_checkpoint()
        elif (
            self._task.parked is not None
            or perf_counter() >= self._gathering.yield_at
        ):
            await self._task.queued()
        return None

    @enable_ki_protection
    def send_nowait(self, data: Buffer | Buffers) -> None:
        """Queue a message, if there is room; see ``send``.

        Raises:
          trio.WouldBlock: more than ``max_buffered`` bytes are buffered, or a
            task waits for room.

        Synchronous, and not a checkpoint. What is queued between two
        checkpoints leaves in one batch.
        """
        if type(data) is bytes:
            queued = self._outbox.put(data)
        elif isinstance(data, Buffers):
            with Claim(data):
                message = data.copy()
                queued = self._outbox.put(message)
                drop(data if queued else message, message.nbytes)
        else:
            queued = self._outbox.put(_copy(data))
        if queued:
            self._task.wake()
            return
        self._task.check_open()
        # No cork is to keep the room that it will be tried for again.
        self._task.push()
        raise trio.WouldBlock

    async def _send_gathered(self, data: Buffers) -> None:
        await checkpoint_if_cancelled()
        # Until the message is queued, nobody else consumes it.
        with Claim(data):
            message = data.copy()
            size = message.nbytes
            if self._outbox.put(message):
                drop(data, size)
                await self._task.queued()
                return
            try:
                await self._wait_for_room(message)
            except BaseException:
                message.clear()
                raise
            drop(data, size)

    async def _wait_for_room(self, message: bytes | Buffers) -> None:
        await self._task.checkpoint_if_ended()
        task = current_task()
        self._outbox.put_later(task, message)
        self._task.push()
        await self._task.wait(lambda: self._outbox.withdraw(task))


class StreamSendingTask(SendingTask):
    """Sends queued messages on a stream.

    Args:
      target: The stream.
      max_buffered: See ``open_batch_sender``.
      grace: Seconds for a message that is part-way out at the end.

    Attributes:
      unsent: See ``BatchSender``.
      uncertain: See ``BatchSender``.
      unfinished: See ``BatchSender``.
    """

    TARGET_ERRORS = (trio.BrokenResourceError, trio.ClosedResourceError)

    outbox: StreamOutbox

    def __init__(
        self, target: trio.abc.SendStream, max_buffered: int, grace: float
    ) -> None:
        self._plain = target if is_plain(target) else None
        # Whether a Buffers, after a cancellation, holds what was not sent.
        self._exact = self._plain is not None
        super().__init__(
            StreamOutbox(max_buffered, trio.current_time),
            _call_counter(target),
        )
        self._target = target
        self.unsent: list[bytes] = []
        self.uncertain: list[bytes] = []
        self.unfinished = b""
        self._grace = grace
        self._max_size = None if self._exact else PIECE_SIZE
        self._send = (
            target.send_buffers
            if is_plain(target)
            else functools.partial(send_buffers, target)
        )
        self._batch: Batch | None = None
        self._stopping = False
        # In which a message that is part-way out is finished.
        self._grace_scope = trio.CancelScope(shield=True)

    def check_target(self) -> None:
        """Raise ``BusyResourceError`` if another task is sending on it."""
        if self._plain is not None:
            self._plain._send_guard.check()

    def idle_stream(self) -> BatchSocketStream | None:
        """Return the stream, if a message may be sent past this task."""
        # It is parked while nothing is queued, or a cork holds that back.
        if self.parked is None or self.gathering.corks:
            return None
        return self._plain

    def sent_past(self, message: bytes, sent: int) -> None:
        """Account for a message sent past this task, and send what is left."""
        if sent == len(message):
            self.outbox.sent_alone(sent)
            return
        self.outbox.put(message)
        if sent:
            self._batch = self.outbox.take()
            self._batch.buffers.consume(sent)
        self.wake()

    def stop(self) -> None:
        """End at a message boundary, or when the grace time is over."""
        self._stopping = True
        self.finish()
        grace_ends = trio.current_time() + self._grace
        if self._exact:
            self._scope.cancel()
            self._grace_scope.deadline = grace_ends
        else:
            self._scope.deadline = grace_ends

    def hurry(self) -> None:
        """End the grace time."""
        super().hurry()
        self._grace_scope.cancel()

    def has_left(self) -> bool:
        """Whether it ended with something not sent, or perhaps not."""
        return bool(self.unsent or self.uncertain or self.unfinished)

    async def _send_batches(self) -> None:
        outbox = self.outbox
        while not self._stopping:
            if (
                self._batch is None
                and outbox.has_next()
                and self.gathering.may_leave()
            ):
                self._batch = outbox.take(self._max_size)
                self.gathering.taken()
            if self._batch is not None:
                await self._send(self._batch.buffers)
                self._account(self._batch)
            elif outbox.closed:
                break
            else:
                await self._park()

    async def _finish(self) -> None:
        """Finish the message that is part-way out."""
        batch = self._batch
        if batch is None or not self._exact:
            return
        part = batch.part()
        size = part.nbytes
        with self._grace_scope:
            try:
                if size:
                    await self._send(part)
            finally:
                batch.buffers.consume(size - part.nbytes)
                part.clear()
        if not batch.buffers:
            self._account(batch)

    def _account(self, batch: Batch) -> None:
        self._batch = None
        reschedule_all(self.outbox.sent(batch))
        if self.outbox.waiting:
            # For room, which no cork is to keep.
            self.gathering.pushed = True

    def _keep_unsent(self) -> None:
        outbox, batch = self.outbox, self._batch
        self._batch = None
        if batch is not None:
            index, left = batch.boundary()
            self.unfinished, whole = batch.unsent()
            if self._exact:
                self.unsent = whole
                outbox.cut_short(batch, index - bool(left))
            else:
                self.uncertain = whole
        if outbox.has_next():
            self.unsent += outbox.take().unsent()[1]

    def _abandon(self) -> Iterable[Hashable]:
        return self.outbox.abandon()


def _call_counter(target: trio.abc.SendStream) -> Callable[[], int] | None:
    if is_plain(target):
        return lambda: target.statistics().send_calls
    return None


def _copy(data: Buffer) -> bytes:
    with view_of_bytes(data, "data") as view:
        return bytes(view)
