"""A task that sends what others queue: how it rests, ends, and is told to.

It is shielded, because the block that it serves may be cancelled while there
is something left to be done. It ends when it is told to, and the block waits
for that.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, NoReturn, cast

import trio
from trio.lowlevel import (
    Abort,
    current_task,
    enable_ki_protection,
    reschedule,
    wait_task_rescheduled,
)

if TYPE_CHECKING:
    from collections.abc import Hashable, Iterable

    from trio.lowlevel import RaiseCancelT, Task


class SendingTask(ABC):
    """Sends what is queued, for the length of a block.

    Attributes:
      cause: What ended it early; None while it runs, and when it was told to.
      parked: The task, while it has nothing to do.
    """

    def __init__(self) -> None:
        self.cause: BaseException | None = None
        self.parked: Task | None = None
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
            # Anything else is nobody's to expect: let it out.
            if not self._is_the_targets(error):
                raise
        finally:
            in_vain = self._abandon()
            self._ended.set()
            reschedule_all(in_vain)

    def wake(self) -> None:
        """Go on: something was queued, or it is to end."""
        if self.parked is not None:
            task, self.parked = self.parked, None
            reschedule(task)

    @abstractmethod
    def finish(self) -> None:
        """Let nothing more in, and end when all the rest was sent."""

    @abstractmethod
    def stop(self) -> None:
        """Let nothing more in, and end soon."""

    def raise_ended(self) -> NoReturn:
        """Raise what those are told who want something to be sent now.

        Raises:
          trio.BrokenResourceError: the target broke.
          trio.ClosedResourceError: it was closed, or this was stopped.
        """
        cause = self.cause
        if cause is None:
            raise trio.ClosedResourceError("this batch sender was closed")
        if isinstance(cause, trio.ClosedResourceError):
            raise trio.ClosedResourceError(str(cause)) from cause
        raise trio.BrokenResourceError(
            f"the target can't be sent to: {cause}"
        ) from cause

    async def wait_ended(self) -> None:
        """Wait until the task has nothing more to do with its target."""
        await self._ended.wait()

    @abstractmethod
    async def _send_batches(self) -> None:
        """Send what is queued, again and again, until it is to end."""

    @abstractmethod
    async def _finish(self) -> None:
        """Do what has to be done after a stop."""

    @abstractmethod
    def _is_the_targets(self, error: BaseException) -> bool:
        """Whether it says that nothing more can be sent."""

    @abstractmethod
    def _abandon(self) -> Iterable[Hashable]:
        """Keep what was not sent; return the tasks that wait in vain."""

    async def _park(self) -> None:
        self.parked = current_task()

        def abort(_: RaiseCancelT) -> Abort:
            self.parked = None
            return Abort.SUCCEEDED

        await wait_task_rescheduled(abort)


def reschedule_all(tasks: Iterable[Hashable]) -> None:
    """Let tasks go on, in this order."""
    for task in tasks:
        reschedule(cast("Task", task))
