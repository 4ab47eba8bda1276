"""Sending datagrams that many tasks queue, each of which learns its outcome.

Nothing is waited for between a system call and the account of it, so at any
moment at which a task can be cancelled its datagram is either in a queue, from
which it is taken, or in the kernel, and then the task is told that it was
sent. The sending task may be waiting at that moment, for a peer with a full
queue: the batch that it holds is one of the queues.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING

import trio
from trio.lowlevel import reschedule

from triobatch._datagram_errors import DatagramError
from triobatch._sending_task import SendingTask, reschedule_all

if TYPE_CHECKING:
    from collections.abc import Hashable, Iterable

    from trio.lowlevel import Task

    from triobatch._addresses import Address
    from triobatch._datagram_socket import DatagramSocket
    from triobatch._dispatch import Dispatch


class Waiter:
    """A task that waits for the outcome of one datagram, or of a few.

    Attributes:
      left: How many have no outcome yet.
      sent: How many the kernel has taken.
      errors: Why the kernel refused the others.
    """

    __slots__ = ("_task", "errors", "left", "sent")

    def __init__(self, task: Task, count: int) -> None:
        self.left = count
        self.sent = 0
        self.errors: list[DatagramError] = []
        self._task = task

    def settle(self, error: DatagramError | None) -> None:
        """Note the outcome of a datagram; after the last, go on."""
        if error is None:
            self.sent += 1
        else:
            self.errors.append(error)
        self.left -= 1
        if not self.left:
            reschedule(self._task)

    def give_up(self) -> Task:
        """Return the task, which is told by its caller that it is over."""
        self.left = 0
        return self._task


class QueuedDatagram:
    """A datagram in the queue, or in the batch on its way.

    Args:
      payload: Exported for as long as it is queued.
      address: Where to.
      waiter: Who wants to know what becomes of it, if anybody.
      index: Its place in what the waiter sends.
    """

    __slots__ = ("address", "index", "payload", "position", "waiter")

    def __init__(
        self,
        payload: bytes | memoryview,
        address: Address,
        waiter: Waiter | None = None,
        index: int = 0,
    ) -> None:
        self.payload = payload
        self.address = address
        self.waiter = waiter
        self.index = index
        # In the batch that is on its way, if any.
        self.position = -1


class DatagramSendingTask(SendingTask):
    """Sends queued datagrams on a socket.

    Attributes:
      closed: Whether nothing more is let in.
      nbytes: Bytes in the queue, and in the batch on its way.
      peak: The most that this ever was.
      count: Datagrams, likewise.
      waiting: How many of them somebody waits for.
      unsent: See ``DatagramBatchSender``.
    """

    def __init__(self, target: DatagramSocket) -> None:
        super().__init__()
        self.closed = False
        self.nbytes = self.peak = self.count = 0
        self.waiting = 0
        self.messages = self.refused = self.batches = 0
        self.longest_wait = 0.0
        self.unsent: list[tuple[bytes, Address]] = []
        self._target = target
        # The withdrawn ones are deleted; a dict does that in no time.
        self._queued: dict[QueuedDatagram, None] = {}
        self._since = 0.0
        self._batch: list[QueuedDatagram] = []
        self._dispatch: Dispatch | None = None
        self._batch_scope = trio.CancelScope()
        # Flushes wait for the number of the last batch that concerns them.
        self._flushing: OrderedDict[Hashable, int] = OrderedDict()

    def put(self, datagram: QueuedDatagram) -> None:
        """Queue a datagram."""
        if not self._queued:
            self._since = trio.current_time()
        self._queued[datagram] = None
        self.count += 1
        self.nbytes += len(datagram.payload)
        self.peak = max(self.peak, self.nbytes)
        self.waiting += datagram.waiter is not None
        self.wake()

    def withdraw(self, datagram: QueuedDatagram) -> bool:
        """Take a datagram back; return False if its outcome is known.

        Its waiter has been told it then, or is told it now.
        """
        if datagram in self._queued:
            del self._queued[datagram]
        elif datagram.position < 0:
            return False
        elif self._dispatch is None or not self._dispatch.withdraw(
            datagram.position
        ):
            self._account(datagram, self._errors())
            return False
        elif not self._dispatch.unsent():
            # What is waited for concerns nobody any more.
            self._batch_scope.cancel()
        self._forget(datagram)
        return True

    def wait_flushed(self, token: Hashable) -> bool:
        """Return whether there is a batch to wait for, and note the token."""
        if not self._queued and not self._batch:
            return False
        ahead = bool(self._queued) + bool(self._batch)
        self._flushing[token] = self.batches + ahead
        return True

    def withdraw_flush(self, token: Hashable) -> bool:
        """Wait no longer; return False if the batch is done."""
        return self._flushing.pop(token, None) is not None

    def finish(self) -> None:
        """Let nothing more in, and end when all the rest was sent."""
        self.closed = True
        self.wake()

    def stop(self) -> None:
        """End now: a datagram is whole, or not there."""
        self.closed = True
        self._scope.cancel()

    async def _send_batches(self) -> None:
        while True:
            if self._queued:
                await self._send_batch()
                self._end_flushes(self.batches)
                continue
            # Those that a flush waits for may have been withdrawn.
            self._end_flushes(self.batches + 1)
            if self.closed:
                break
            await self._park()

    async def _send_batch(self) -> None:
        since = self._since
        self._batch, self._queued = list(self._queued), {}
        for position, datagram in enumerate(self._batch):
            datagram.position = position
        sending = self._target._sending
        self._dispatch = sending.dispatch(
            [datagram.payload for datagram in self._batch],
            [datagram.address for datagram in self._batch],
            None,
        )
        try:
            with trio.CancelScope() as self._batch_scope:
                await sending.drive(self._dispatch)
        finally:
            # Each that was refused is told there.
            self._settle(self._dispatch)
        self.batches += 1
        self.longest_wait = max(self.longest_wait, trio.current_time() - since)

    def _end_flushes(self, batches: int) -> None:
        flushing = self._flushing
        while flushing and next(iter(flushing.values())) <= batches:
            reschedule_all([flushing.popitem(last=False)[0]])

    async def _finish(self) -> None:
        """Do nothing: no datagram is ever part-way out."""

    def _is_the_targets(self, error: BaseException) -> bool:
        return isinstance(error, trio.ClosedResourceError | OSError)

    def _abandon(self) -> Iterable[Hashable]:
        self.closed = True
        in_vain: list[Hashable] = list(self._flushing)
        for datagram in self._queued:
            if datagram.waiter is None:
                payload = bytes(datagram.payload)
                self.unsent.append((payload, datagram.address))
            elif datagram.waiter.left:
                in_vain.append(datagram.waiter.give_up())
        self._queued = {}
        return in_vain

    def _settle(self, dispatch: Dispatch) -> None:
        """Tell everybody in the batch; queue again what was not sent."""
        unsent = set(dispatch.unsent())
        errors = self._errors()
        left: dict[QueuedDatagram, None] = {}
        for datagram in self._batch:
            if datagram.position in unsent:
                left[datagram] = None
            else:
                self._account(datagram, errors)
        self._queued = {**left, **self._queued}
        self._batch = []
        self._dispatch = None

    def _errors(self) -> dict[int, DatagramError]:
        if self._dispatch is None:
            return {}
        return {error.index: error for error in self._dispatch.errors}

    def _account(
        self, datagram: QueuedDatagram, errors: dict[int, DatagramError]
    ) -> None:
        if datagram.position < 0:
            return
        error = errors.get(datagram.position)
        waiter = datagram.waiter
        self._forget(datagram)
        if error is None:
            self.messages += 1
        else:
            # To its sender its place is another one.
            error = DatagramError(
                error.errno or 0, datagram.index, error.address
            )
            self.refused += 1
        if waiter is not None:
            waiter.settle(error)

    def _forget(self, datagram: QueuedDatagram) -> None:
        self.waiting -= datagram.waiter is not None
        self.count -= 1
        self.nbytes -= len(datagram.payload)
        datagram.position = -1
        datagram.waiter = None
