"""The one task that sends what others queue: its life, and its account.

It is shielded, because the block that it serves may be cancelled while there
is something left to be done. It ends when it is told to, and the block waits
for that.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Hashable, Iterable
from contextlib import AbstractContextManager
from typing import ClassVar, NoReturn, cast

import trio
from trio.lowlevel import (
    Abort,
    RaiseCancelT,
    Task,
    cancel_shielded_checkpoint,
    checkpoint_if_cancelled,
    current_task,
    enable_ki_protection,
    reschedule,
    wait_task_rescheduled,
)

from triobatch._resource import reason_of, without_frames
from triobatch._senders.gathering import Gathering
from triobatch._senders.statistics import Outbox, SenderStatistics
from triobatch._wire.described import described


class SendingTask(ABC):
    """Sends what is queued, for the length of a block.

    Args:
      outbox: Where others queue it.
      count_calls: Returns the target's system calls; None if it has no count.

    Attributes:
      TARGET_ERRORS: What its target raises when it is of no more use.
      outbox: Where others queue it.
      body: What the block waits in; cancelled when somebody else is sending
        on the target.
      cause: What ended it early; None while it runs, and when it was told to.
        It has no frames, unless it was a fault.
      parked: The task, while it has nothing to do.
      gathering: When what is queued leaves.
    """

    TARGET_ERRORS: ClassVar[tuple[type[Exception], ...]]

    outbox: Outbox

    def __init__(
        self, outbox: Outbox, count_calls: Callable[[], int] | None
    ) -> None:
        self.body = trio.CancelScope()
        self.cause: BaseException | None = None
        self.parked: Task | None = None
        self.outbox = outbox
        self.gathering = Gathering(outbox)
        self._count_calls = count_calls
        self._calls_before = count_calls() if count_calls else 0
        self._calls_at_end: int | None = None
        self._scope = trio.CancelScope(shield=True)
        self._ended = trio.Event()

    @enable_ki_protection
    async def run(self) -> None:
        """Send until told to stop, or until the target is broken."""
        try:
            with self._scope:
                await self._send_batches()
            await self._finish()
        except BaseException as error:
            self.cause = error
            if isinstance(error, trio.BusyResourceError):
                # A mistake of the program's, whatever its tasks are doing.
                self.body.cancel()
            elif not isinstance(error, self.TARGET_ERRORS):
                # A fault, and not the target's: let it out.
                raise
            without_frames(error)
        finally:
            if self._count_calls is not None:
                self._calls_at_end = self._count_calls()
            try:
                self._keep_unsent()
            finally:
                # Also if it is more than memory holds: the block waits.
                in_vain = self._abandon()
                self._ended.set()
                reschedule_all(in_vain)

    def wake(self) -> None:
        """Go on: something was queued, or it is to end."""
        if self.parked is not None and self.gathering.may_leave():
            task, self.parked = self.parked, None
            reschedule(task)

    def push(self) -> None:
        """Let what is queued now leave, in spite of any cork."""
        # Not what comes after it, if all of that is on its way.
        self.gathering.pushed |= self.outbox.has_next()
        self.wake()

    async def queued(self) -> None:
        """Go on, after something was queued; yield if it is time to."""
        if self.parked is not None and self.gathering.may_leave():
            self.wake()
            self.gathering.yield_at = 0.0
        if self.gathering.yields():
            await cancel_shielded_checkpoint()

    def finish(self) -> None:
        """Let nothing more in, and end when all the rest was sent."""
        reschedule_all(self.outbox.close())
        self.wake()

    def stop(self) -> None:
        """Let nothing more in, and end soon."""
        self.finish()
        self._scope.cancel()

    def hurry(self) -> None:
        """After ``stop``: end now."""
        self._scope.cancel()

    def check_open(self) -> None:
        """Raise what ``raise_ended`` does, if nothing more is let in."""
        if self.outbox.closed:
            self.raise_ended()

    async def checkpoint_if_ended(self) -> None:
        """Raise what ``raise_ended`` does, after a checkpoint.

        Or a task that tries again and again would let no other run.
        """
        if self.outbox.closed:
            await cancel_shielded_checkpoint()
            self.raise_ended()

    async def wait(self, withdraw: Callable[[], bool]) -> None:
        """Wait until this task is rescheduled.

        Args:
          withdraw: Waits no longer; returns False if what was waited for has
            happened.

        Raises:
          trio.BrokenResourceError, trio.ClosedResourceError: it ended before
            that; see ``raise_ended``.
        """

        def abort(_: RaiseCancelT) -> Abort:
            withdraw()
            return Abort.SUCCEEDED

        await wait_task_rescheduled(abort)
        if withdraw():
            self.raise_ended()

    def raise_ended(self) -> NoReturn:
        """Raise the error of a call that comes after the end.

        Raises:
          trio.BrokenResourceError: the target broke.
          trio.BusyResourceError: somebody else is sending on it.
          trio.ClosedResourceError: it was closed, or this was stopped.
        """
        cause = self.cause
        if cause is None:
            raise trio.ClosedResourceError("this batch sender was closed")
        reason = reason_of(cause)
        if isinstance(cause, trio.ClosedResourceError):
            raise trio.ClosedResourceError(reason) from cause
        if isinstance(cause, trio.BusyResourceError):
            raise trio.BusyResourceError(
                f"the target is this batch sender's alone: {reason}"
            ) from cause
        raise trio.BrokenResourceError(
            f"the target can't be sent to: {reason}"
        ) from cause

    async def flush(self) -> None:
        """Wait until all that is queued now has left."""
        await checkpoint_if_cancelled()
        await self.checkpoint_if_ended()
        await self._flush()

    async def send_the_rest(self) -> None:
        """Let nothing more in, and wait until all the rest was sent."""
        self.finish()
        if self.cause is not None and self.has_left():
            self.raise_ended()
        await self._flush()

    def raise_if_busy(self) -> None:
        """Raise ``BusyResourceError`` if that is what ended it."""
        if isinstance(self.cause, trio.BusyResourceError):
            self.raise_ended()

    async def wait_broken(self) -> None:
        """Wait until the target is of no more use.

        Raises:
          trio.ClosedResourceError: this was stopped before that.
        """
        await self._ended.wait()
        if self.cause is None:
            self.raise_ended()

    async def wait_ended(self) -> None:
        """Wait until the task has nothing more to do with its target."""
        await self._ended.wait()

    def statistics(self) -> SenderStatistics:
        """Return what it has done so far."""
        outbox = self.outbox
        calls = self._calls_at_end
        if calls is None and self._count_calls is not None:
            calls = self._count_calls()
        return SenderStatistics(
            buffered_size=outbox.nbytes,
            peak_size=outbox.peak,
            waiting=outbox.waiting,
            messages=outbox.messages,
            refused=outbox.refused,
            batches=outbox.batches,
            send_calls=None if calls is None else calls - self._calls_before,
            longest_wait=outbox.longest_wait,
        )

    @abstractmethod
    def has_left(self) -> bool:
        """Whether it ended with something not sent, or perhaps not."""

    @abstractmethod
    async def _send_batches(self) -> None:
        """Send what is queued, again and again, until it is to end."""

    async def _finish(self) -> None:  # noqa: B027 (nothing, by default)
        """Finish what is part-way out, after a stop."""

    @abstractmethod
    def check_target(self) -> None:
        """Raise ``BusyResourceError`` if it is being sent on, if it tells."""

    @abstractmethod
    def _keep_unsent(self) -> None:
        """Keep what was not sent."""

    @abstractmethod
    def _abandon(self) -> Iterable[Hashable]:
        """Let go of what is queued; return the tasks that wait in vain."""

    async def _flush(self) -> None:
        task = current_task()
        if self.outbox.start_flush(task):
            self.push()
            await self.wait(lambda: self.outbox.withdraw_flush(task))
        else:
            await cancel_shielded_checkpoint()

    async def _park(self) -> None:
        self.parked = current_task()

        def abort(_: RaiseCancelT) -> Abort:
            self.parked = None
            return Abort.SUCCEEDED

        await wait_task_rescheduled(abort)


class Sender:
    """What a batch sender tells, whatever it sends on."""

    _task: SendingTask
    # The stream or the socket, as it was given.
    _target: object

    @described
    def __repr__(self) -> str:
        ended = "ended, " if self._task.outbox.closed else ""
        size = self._task.statistics().buffered_size
        return f"{ended}{size} bytes queued, on {self._target!r}"

    async def wait_broken(self) -> None:
        """Wait until the target can be sent to no more.

        For a body that does not send, and would not hear of it. ::

            async with triobatch.open_batch_sender(stream) as sender:
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(subscribe, sender)
                    await sender.wait_broken()
                    nursery.cancel_scope.cancel()

        The block is not cancelled of itself: a peer that takes nothing more
        has often sent the reason, which a task in the block may be reading.
        Only sending finds out that a connection broke.

        Raises:
          trio.ClosedResourceError: the block was left before that.
        """
        await self._task.wait_broken()

    @enable_ki_protection
    async def flush(self) -> None:
        """Wait until all that was queued before this call has left.

        It is in the kernel then, or each datagram of it was refused; or the
        stream has it, if that is no ``BatchSocketStream``.

        Raises:
          trio.BrokenResourceError: the connection broke, or the socket has
            failed, now or earlier.
          trio.ClosedResourceError: the block was left before that, or the
            target closed.

        What others queue meanwhile may be waited for too, as far as it leaves
        in the same batch. Cancelling this cancels nothing else.
        """
        await self._task.flush()

    def corked(self) -> AbstractContextManager[None]:
        """Hold back what is queued until the end of a block.

        For a message of many pieces that are made with waits in between. ::

            with sender.corked():
                async for row in rows:
                    await sender.send(encode(row))

        Returns:
          A context manager. What anybody queues within the block leaves
          together when the block has ended, however it did, at the next
          checkpoint. Before that, all that is there leaves when it is 64 KiB;
          when somebody finds no room; for ``flush``; with what was queued
          before the block and has not left; and when the sender's own block
          is left.

        Blocks may be nested, and those of several tasks overlap: the end of
        the last one counts. It changes nothing on a sender that has ended.
        """
        return self._task.gathering.corked(self._task.wake)

    def statistics(self) -> SenderStatistics:
        """Return what this sender has done so far."""
        return self._task.statistics()


def reschedule_all(tasks: Iterable[Hashable]) -> None:
    """Let tasks go on, in this order."""
    for task in tasks:
        reschedule(cast("Task", task))
