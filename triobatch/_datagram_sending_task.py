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

from triobatch._datagram_errors import DatagramError, DatagramErrorGroup
from triobatch._sending_task import SendingTask, reschedule_all

if TYPE_CHECKING:
    from collections.abc import Hashable, Iterable

    from trio.lowlevel import Task

    from triobatch._addresses import Address
    from triobatch._datagram_socket import DatagramSocket
    from triobatch._dispatch import Dispatch


class QueuedDatagram:
    """A datagram, and the task that waits for what becomes of it.

    Attributes:
      task: The task; None once it was told, and for a datagram of which
        nobody wants to know.
      sent: Whether the kernel has taken it.
      error: Why the kernel refused it.
    """

    __slots__ = ("address", "error", "payload", "position", "sent", "task")

    def __init__(
        self, payload: bytes | memoryview, address: Address, task: Task | None
    ) -> None:
        self.payload = payload
        self.address = address
        self.task = task
        self.sent = False
        self.error: DatagramError | None = None
        # In the batch that is on its way, if any.
        self.position = -1


class DatagramSendingTask(SendingTask):
    """Sends queued datagrams on a socket.

    Attributes:
      closed: Whether nothing more is let in.
      nbytes: Bytes in the queue, and in the batch on its way.
      peak: The most that this ever was.
      count: Datagrams, likewise.
      waiting: How many tasks wait for an outcome.
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
        """Queue a datagram. Its task, if any, is to wait for ``withdraw``."""
        if not self._queued:
            self._since = trio.current_time()
        self._queued[datagram] = None
        self.count += 1
        self.nbytes += len(datagram.payload)
        self.peak = max(self.peak, self.nbytes)
        self.waiting += datagram.task is not None
        self.wake()

    def withdraw(self, datagram: QueuedDatagram) -> bool:
        """Take a datagram back; return False if its outcome is known.

        Its task is then on its way, or made so.
        """
        if datagram in self._queued:
            del self._queued[datagram]
        elif self._dispatch is None or not self._dispatch.withdraw(
            datagram.position
        ):
            self._account(datagram, self._errors())
            return False
        elif not self._dispatch.unsent():
            # What is waited for concerns nobody any more.
            self._batch_scope.cancel()
        datagram.task = None
        datagram.position = -1
        self.waiting -= 1
        self.count -= 1
        self.nbytes -= len(datagram.payload)
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
                await sending.send(self._dispatch)
        except DatagramErrorGroup:
            # Each of them is told below.
            pass
        finally:
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
            if datagram.task is not None:
                in_vain.append(datagram.task)
                datagram.task = None
                self.waiting -= 1
            else:
                payload = bytes(datagram.payload)
                self.unsent.append((payload, datagram.address))
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
        datagram.position = -1
        self.count -= 1
        self.nbytes -= len(datagram.payload)
        if error is None:
            datagram.sent = True
            self.messages += 1
        else:
            # To its sender it is not one of a batch.
            number = error.errno or 0
            datagram.error = DatagramError(number, 0, error.address)
            self.refused += 1
        self._tell(datagram)

    def _tell(self, datagram: QueuedDatagram) -> None:
        if datagram.task is not None:
            task, datagram.task = datagram.task, None
            self.waiting -= 1
            reschedule(task)
