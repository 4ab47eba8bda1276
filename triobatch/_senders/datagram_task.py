"""Sending datagrams that many tasks queue, each of which learns its outcome.

Nothing is waited for between a system call and the account of it, so at any
moment at which a task can be cancelled its datagram is either in a queue, from
which it is taken, or in the kernel, and the task has been told that it was
sent. The sending task may be waiting at that moment, with a batch in hand: the
rest of the batch is one of the queues.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import trio
from trio.lowlevel import enable_ki_protection

from triobatch._senders.datagram_outbox import DatagramOutbox
from triobatch._senders.task import SendingTask, reschedule_all

if TYPE_CHECKING:
    from collections.abc import Hashable, Iterable

    from triobatch._datagrams.dispatch import Dispatch
    from triobatch._datagrams.errors import DatagramError
    from triobatch._datagrams.socket import DatagramSocket
    from triobatch._senders.queued_datagram import QueuedDatagram
    from triobatch._wire.addresses import Address


class DatagramSendingTask(SendingTask):
    """Sends queued datagrams on a socket, and observes what they come to.

    Args:
      target: The socket.

    Attributes:
      outbox: What to send. Its tokens are the tasks that wait.
      unsent: See ``DatagramBatchSender``.
    """

    def __init__(self, target: DatagramSocket) -> None:
        self.outbox = DatagramOutbox(trio.current_time, target._send.peer_of)
        super().__init__(self.outbox, lambda: target.statistics().send_calls)
        self.unsent: list[tuple[bytes, Address]] = []
        self._target = target._send
        self._dispatch: Dispatch | None = None
        self._batch_scope = trio.CancelScope()
        # Where the tasks are that wait for the destinations without room.
        self._nursery: trio.Nursery | None = None

    def put(self, datagrams: list[QueuedDatagram]) -> None:
        """Queue datagrams."""
        self.outbox.put(datagrams)
        self.wake()

    def withdraw(self, datagrams: Iterable[QueuedDatagram]) -> bool:
        """Take back those without an outcome; return whether there are any."""
        outbox = self.outbox
        left = [
            datagram
            for datagram in datagrams
            if datagram.place is not None or datagram.position >= 0
        ]
        for datagram in left:
            position = outbox.withdraw(datagram)
            if position is not None and self._dispatch is not None:
                self._dispatch.withdraw(position)
        if self._dispatch is not None and not outbox.on_its_way:
            # What is waited for concerns nobody any more.
            self._batch_scope.cancel()
        if not outbox.count:
            # It may have waited for that to end.
            self.wake()
        self._tell()
        return bool(left)

    def finish(self) -> None:
        """Let nothing more in, and end when all the rest was sent."""
        self.outbox.closed = True
        self.wake()

    def stop(self) -> None:
        """End now: a datagram is whole, or not there."""
        self.outbox.closed = True
        self._scope.cancel()

    def hurry(self) -> None:
        """Do nothing: it has ended."""

    def sent(self, positions: list[int]) -> None:
        """Tell those who wait for these datagrams of the batch."""
        self.outbox.sent(positions)
        self._tell()

    def refuse(self, error: DatagramError) -> None:
        """Tell who waits for this datagram of the batch."""
        self.outbox.refuse(error)
        self._tell()

    def hold(self, position: int, peer: bytes) -> None:
        """Let a datagram wait until its destination has room."""
        assert self._nursery is not None
        if self.outbox.open_lane(peer):
            self._nursery.start_soon(self._wait_for_room, peer)
        self.outbox.hold(position, peer)

    async def _send_batches(self) -> None:
        ended_by: BaseException | None = None
        async with trio.open_nursery() as self._nursery:
            try:
                await self._send_queued()
            except (trio.ClosedResourceError, OSError) as error:
                ended_by = error
            self._nursery.cancel_scope.cancel()
        if ended_by is not None:
            # Out here, so that the nursery does not wrap it in a group.
            try:
                raise ended_by
            finally:
                del ended_by

    async def _send_queued(self) -> None:
        outbox = self.outbox
        while outbox.count or not outbox.closed:
            if outbox.has_next():
                await self._send_batch()
            else:
                await self._park()

    async def _send_batch(self) -> None:
        batch = self.outbox.take()
        self._dispatch = self._target.dispatch(
            [datagram.payload for datagram in batch],
            [datagram.address for datagram in batch],
            None,
            observer=self,
        )
        try:
            with trio.CancelScope() as self._batch_scope:
                await self._target.drive(self._dispatch)
        finally:
            self._dispatch.close()
            self._dispatch = None
        self.outbox.done()

    # So that Ctrl-C goes to the main task.
    @enable_ki_protection
    async def _wait_for_room(self, peer: bytes) -> None:
        await self._target.room_at(peer)
        self.outbox.close_lane(peer)
        self.wake()

    async def _finish(self) -> None:
        """Do nothing: no datagram is ever part-way out."""

    def _is_the_targets(self, error: BaseException) -> bool:
        return isinstance(error, trio.ClosedResourceError | OSError)

    def _abandon(self) -> Iterable[Hashable]:
        for datagram in self.outbox.abandon():
            if datagram.waiter is None:
                payload = bytes(datagram.payload)
                self.unsent.append((payload, datagram.address))
        freed, self.outbox.freed = self.outbox.freed, []
        return freed

    def _tell(self) -> None:
        if self.outbox.freed:
            freed, self.outbox.freed = self.outbox.freed, []
            reschedule_all(freed)
