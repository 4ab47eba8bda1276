"""The one task that sends what many queue: its batches, its end.

How it stops
------------
A ``BatchSocketStream`` consumes a ``Buffers`` exactly, so there the send is
cancelled at once, and what is left of the message that was part-way out gets
the grace time. Any other stream is asked for batches of one ``send_all`` each,
and the grace time is for the batch on its way: cancelled within ``send_all``,
nobody can say what was sent, and a TLS connection is broken.

The task is shielded, because the block that it serves may be cancelled while
there is something left to be done. It ends when it is told to.
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, NoReturn, cast

import trio
from trio.lowlevel import (
    Abort,
    current_task,
    enable_ki_protection,
    reschedule,
    wait_task_rescheduled,
)

from triobatch._send_buffers import PIECE_SIZE, send_buffers
from triobatch._stream import BatchSocketStream

if TYPE_CHECKING:
    from collections.abc import Hashable, Iterable

    from trio.lowlevel import RaiseCancelT, Task

    from triobatch._outbox import Batch, Outbox

# What a stream raises when there is no more to be sent on it.
_STREAM_ERRORS = (trio.BrokenResourceError, trio.ClosedResourceError)


class SendingTask:
    """Sends the messages of an outbox on a stream.

    Args:
      target: The stream.
      outbox: What to send. Its tokens are the tasks that wait.
      grace: Seconds for a message that is part-way out at the end.

    Attributes:
      cause: What ended it early; None while it runs, and when it was told to.
      unsent: See ``BatchSender``.
      unfinished: See ``BatchSender``.
      parked: The task, while it has nothing to do.
    """

    def __init__(
        self, target: trio.abc.SendStream, outbox: Outbox, grace: float
    ) -> None:
        self.cause: BaseException | None = None
        self.unsent: list[bytes] = []
        self.unfinished = b""
        self.parked: Task | None = None
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
        self._scope = trio.CancelScope(shield=True)
        self._stopping = False
        self._grace_ends = 0.0
        self._ended = trio.Event()

    @enable_ki_protection
    async def run(self) -> None:
        """Send until told to stop, or until the stream is broken."""
        try:
            with self._scope:
                await self._send_batches()
            if self._batch is not None and self._exact:
                await self._finish_message(self._batch)
        except BaseException as error:
            self.cause = error
            # Anything else is nobody's to expect: let it out.
            if not isinstance(error, _STREAM_ERRORS):
                raise
        finally:
            in_vain = self._outbox.abandon()
            self._keep_unsent()
            self._ended.set()
            _reschedule(in_vain)

    def wake(self) -> None:
        """Go on: something was queued, or the outbox was closed."""
        if self.parked is not None:
            task, self.parked = self.parked, None
            reschedule(task)

    def finish(self) -> None:
        """Let nothing more in, and end when all the rest was sent."""
        _reschedule(self._outbox.close())
        self.wake()

    def stop(self) -> None:
        """End at a message boundary, or when the grace time is over."""
        _reschedule(self._outbox.close())
        self._stopping = True
        self._grace_ends = trio.current_time() + self._grace
        if self._exact:
            self._scope.cancel()
        else:
            self._scope.deadline = self._grace_ends
        self.wake()

    def raise_ended(self) -> NoReturn:
        """Raise what those are told who want something to be sent now.

        Raises:
          trio.BrokenResourceError: the stream broke.
          trio.ClosedResourceError: it was closed, or this was stopped.
        """
        cause = self.cause
        if cause is None:
            raise trio.ClosedResourceError("this BatchSender was closed")
        if isinstance(cause, trio.ClosedResourceError):
            raise trio.ClosedResourceError(str(cause)) from cause
        raise trio.BrokenResourceError(
            f"the stream can't be sent to: {cause}"
        ) from cause

    async def wait_ended(self) -> None:
        """Wait until the task has nothing more to do with the stream."""
        await self._ended.wait()

    async def _send_batches(self) -> None:
        outbox = self._outbox
        while not self._stopping:
            if outbox.queued:
                batch = self._batch = outbox.take(self._max_size)
                await self._send(batch.buffers)
                self._finish(batch)
            elif outbox.closed:
                break
            else:
                await self._park()

    async def _park(self) -> None:
        self.parked = current_task()

        def abort(_: RaiseCancelT) -> Abort:
            self.parked = None
            return Abort.SUCCEEDED

        await wait_task_rescheduled(abort)

    async def _finish_message(self, batch: Batch) -> None:
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
            self._finish(batch)

    def _finish(self, batch: Batch) -> None:
        self._batch = None
        _reschedule(self._outbox.done(batch))

    def _keep_unsent(self) -> None:
        if self._batch is not None:
            self.unfinished, self.unsent = self._batch.unsent()
        while self._outbox.queued:
            self.unsent += self._outbox.take().unsent()[1]


def _reschedule(tokens: Iterable[Hashable]) -> None:
    for token in tokens:
        reschedule(cast("Task", token))
