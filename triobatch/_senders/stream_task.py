"""Sending messages on a stream, and stopping between two of them.

A ``BatchSocketStream`` consumes a ``Buffers`` exactly, so there the send is
cancelled at once, and what is left of the message that was part-way out gets
the grace time. Any other stream is asked for batches of one ``send_all`` each,
or one message that takes several, and the grace time is for the batch on its
way: cancelled within ``send_all``, nobody can say what was sent, and a TLS
connection is broken. So then the batch is neither sent nor unsent.
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING

import trio

from triobatch._senders.task import SendingTask, reschedule_all
from triobatch._streams.send_buffers import PIECE_SIZE, send_buffers
from triobatch._streams.stream import BatchSocketStream

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Iterable

    from triobatch._senders.batch import Batch
    from triobatch._senders.stream_outbox import Outbox


class StreamSendingTask(SendingTask):
    """Sends the messages of an outbox on a stream.

    Args:
      target: The stream.
      outbox: What to send. Its tokens are the tasks that wait.
      grace: Seconds for a message that is part-way out at the end.

    Attributes:
      unsent: See ``BatchSender``.
      uncertain: See ``BatchSender``.
      unfinished: See ``BatchSender``.
    """

    def __init__(
        self, target: trio.abc.SendStream, outbox: Outbox, grace: float
    ) -> None:
        # Whether a Buffers, after a cancellation, holds what was not sent.
        self._exact = isinstance(target, BatchSocketStream)
        super().__init__(outbox, _call_counter(target))
        self.unsent: list[bytes] = []
        self.uncertain: list[bytes] = []
        self.unfinished = b""
        self._outbox = outbox
        self._grace = grace
        self._max_size = None if self._exact else PIECE_SIZE
        self._send = (
            target.send_buffers
            if isinstance(target, BatchSocketStream)
            else functools.partial(send_buffers, target)
        )
        self._batch: Batch | None = None
        self._stopping = False
        # What a message that is part-way out has the grace time in.
        self._grace_scope = trio.CancelScope(shield=True)

    def finish(self) -> None:
        """Let nothing more in, and end when all the rest was sent."""
        reschedule_all(self._outbox.close())
        self.wake()

    def stop(self) -> None:
        """End at a message boundary, or when the grace time is over."""
        reschedule_all(self._outbox.close())
        self._stopping = True
        grace_ends = trio.current_time() + self._grace
        if self._exact:
            self._scope.cancel()
            self._grace_scope.deadline = grace_ends
        else:
            self._scope.deadline = grace_ends
        self.wake()

    def hurry(self) -> None:
        """End the grace time."""
        self._scope.cancel()
        self._grace_scope.cancel()

    def has_left(self) -> bool:
        """Whether it ended with something not sent, or perhaps not."""
        return bool(self.unsent or self.uncertain or self.unfinished)

    async def _send_batches(self) -> None:
        outbox = self._outbox
        while not self._stopping:
            if outbox.queued:
                batch = self._batch = outbox.take(self._max_size)
                await self._send(batch.buffers)
                self._done(batch)
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
            self._done(batch)

    def _done(self, batch: Batch) -> None:
        self._batch = None
        reschedule_all(self._outbox.done(batch))

    def _is_the_targets(self, error: BaseException) -> bool:
        return isinstance(
            error, trio.BrokenResourceError | trio.ClosedResourceError
        )

    def _abandon(self) -> Iterable[Hashable]:
        outbox, batch = self._outbox, self._batch
        if batch is not None:
            index, left = batch.boundary()
            self.unfinished, whole = batch.unsent()
            if self._exact:
                self.unsent = whole
                outbox.cut_short(batch, index - bool(left))
            else:
                self.uncertain = whole
        while outbox.queued:
            self.unsent += outbox.take().unsent()[1]
        return outbox.abandon()


def _call_counter(target: trio.abc.SendStream) -> Callable[[], int] | None:
    if isinstance(target, BatchSocketStream):
        return lambda: target.statistics().send_calls
    return None
