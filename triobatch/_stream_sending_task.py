"""Sending messages on a stream, and stopping between two of them.

A ``BatchSocketStream`` consumes a ``Buffers`` exactly, so there the send is
cancelled at once, and what is left of the message that was part-way out gets
the grace time. Any other stream is asked for batches of one ``send_all`` each,
and the grace time is for the batch on its way: cancelled within ``send_all``,
nobody can say what was sent, and a TLS connection is broken.
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING

import trio

from triobatch._send_buffers import PIECE_SIZE, send_buffers
from triobatch._sending_task import SendingTask, reschedule_all
from triobatch._stream import BatchSocketStream

if TYPE_CHECKING:
    from collections.abc import Hashable, Iterable

    from triobatch._outbox import Batch, Outbox


class StreamSendingTask(SendingTask):
    """Sends the messages of an outbox on a stream.

    Args:
      target: The stream.
      outbox: What to send. Its tokens are the tasks that wait.
      grace: Seconds for a message that is part-way out at the end.

    Attributes:
      unsent: See ``BatchSender``.
      unfinished: See ``BatchSender``.
    """

    def __init__(
        self, target: trio.abc.SendStream, outbox: Outbox, grace: float
    ) -> None:
        super().__init__()
        self.unsent: list[bytes] = []
        self.unfinished = b""
        self._outbox = outbox
        self._grace = grace
        # Whether a Buffers, after a cancellation, holds what was not sent.
        self._exact = isinstance(target, BatchSocketStream)
        self._max_size = None if self._exact else PIECE_SIZE
        self._send = (
            target.send_buffers
            if isinstance(target, BatchSocketStream)
            else functools.partial(send_buffers, target)
        )
        self._batch: Batch | None = None
        self._stopping = False
        self._grace_ends = 0.0

    def finish(self) -> None:
        """Let nothing more in, and end when all the rest was sent."""
        reschedule_all(self._outbox.close())
        self.wake()

    def stop(self) -> None:
        """End at a message boundary, or when the grace time is over."""
        reschedule_all(self._outbox.close())
        self._stopping = True
        self._grace_ends = trio.current_time() + self._grace
        if self._exact:
            self._scope.cancel()
        else:
            self._scope.deadline = self._grace_ends
        self.wake()

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
        with trio.CancelScope(deadline=self._grace_ends, shield=True):
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
        if self._batch is not None:
            self.unfinished, self.unsent = self._batch.unsent()
        while self._outbox.queued:
            self.unsent += self._outbox.take().unsent()[1]
        return self._outbox.abandon()
