"""A task that sends what others queue: how it rests, ends, and is told to.

It is shielded, because the block that it serves may be cancelled while there
is something left to be done. It ends when it is told to, and the block waits
for that.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, NoReturn, Protocol, cast

import trio
from trio.lowlevel import (
    Abort,
    cancel_shielded_checkpoint,
    current_task,
    enable_ki_protection,
    reschedule,
    wait_task_rescheduled,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Iterable

    from trio.lowlevel import RaiseCancelT, Task


class Closable(Protocol):
    """What the messages come from.

    Attributes:
      closed: Whether it lets nothing more in.
    """

    closed: bool


class SendingTask(ABC):
    """Sends what is queued, for the length of a block.

    Args:
      source: Where others queue it.
      count_calls: Returns the target's system calls; None if it has no count.

    Attributes:
      cause: What ended it early; None while it runs, and when it was told to.
      parked: The task, while it has nothing to do.
    """

    def __init__(
        self, source: Closable, count_calls: Callable[[], int] | None
    ) -> None:
        self.cause: BaseException | None = None
        self.parked: Task | None = None
        self._source = source
        self._count_calls = count_calls
        self._calls_before = count_calls() if count_calls else 0
        self._calls_at_end: int | None = None
        self._scope = trio.CancelScope(shield=True)
        self._ended = trio.Event()

    @property
    def send_calls(self) -> int | None:
        """The system calls since, until it ended; None if not counted."""
        if self._count_calls is None:
            return None
        calls = self._calls_at_end
        if calls is None:
            calls = self._count_calls()
        return calls - self._calls_before

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
            if self._count_calls is not None:
                self._calls_at_end = self._count_calls()
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

    @abstractmethod
    def hurry(self) -> None:
        """After ``stop``: end now."""

    def check_open(self) -> None:
        """Raise what ``raise_ended`` does, if nothing more is let in."""
        if self._source.closed:
            self.raise_ended()

    async def checkpoint_if_ended(self) -> None:
        """Likewise, and let others run, so that a loop that goes on does."""
        if self._source.closed:
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
