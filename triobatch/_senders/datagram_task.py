"""The one task that sends the datagrams of many on a socket.

The task of each datagram learns its outcome. Nothing is waited for between a
system call and the account of it, so at any moment at which a task can be
cancelled its datagram is either in a queue, from which it is taken, or in the
kernel, and the task has been told that it was sent. The sending task may wait
with a batch in hand: the rest of the batch is one of the queues.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Iterator
from contextlib import contextmanager

import trio
from trio.lowlevel import (
    cancel_shielded_checkpoint,
    checkpoint_if_cancelled,
    enable_ki_protection,
)

from triobatch._datagrams.abstract_socket import AbstractDatagramSocket
from triobatch._datagrams.dispatch import Dispatch
from triobatch._queues.datagrams import (
    Directed,
    direct,
)
from triobatch._senders.datagram_outbox import (
    DatagramOutbox,
    QueuedDatagram,
    Unsent,
    Waiter,
)
from triobatch._senders.datagram_room import QueueingTask
from triobatch._senders.task import reschedule_all
from triobatch._wire.addresses import Address


class DatagramSendingTask(QueueingTask):
    """Sends queued datagrams on a socket, and observes what they come to.

    Args:
      target: The socket.
      max_buffered: Bytes; see ``Room``.

    Attributes:
      unsent: See ``DatagramBatchSender``.
      check_all: Raises TypeError or ValueError if one of the addresses of a
        ``Datagrams``, or its metadata, is none for this socket.
    """

    TARGET_ERRORS = (trio.ClosedResourceError, OSError)

    def __init__(
        self, target: AbstractDatagramSocket, max_buffered: int
    ) -> None:
        self._target = target._send
        self.peer_of = self._target.peer_of
        self.control_of = self._target.control_of
        self.check_all = self._target.check_all
        super().__init__(
            DatagramOutbox(trio.current_time, self.peer_of),
            lambda: target.statistics().send_calls,
            max_buffered,
        )
        self.unsent: list[Unsent] = []
        self._dispatch: Dispatch | None = None
        self._batch_scope = trio.CancelScope()
        # Of the tasks that wait for destinations without room.
        self._nursery: trio.Nursery | None = None
        self._ended_by: Exception | None = None

    def put(
        self, datagrams: list[QueuedDatagram], waiter: Waiter | None = None
    ) -> None:
        """Queue datagrams; the waiter learns what becomes of them."""
        self.outbox.put(datagrams, waiter)
        self.wake()

    def withdraw(self, datagrams: Iterable[QueuedDatagram]) -> bool:
        """Take back those without an outcome; return whether there are any."""
        outbox = self.outbox
        left = [one for one in datagrams if one.place is not None]
        tags = outbox.withdraw(left)
        if self._dispatch is not None:
            for tag in tags:
                self._dispatch.withdraw(tag)
            if not outbox.on_its_way:
                # What is waited for concerns nobody any more.
                self._batch_scope.cancel()
        if not outbox.count:
            # If nothing more is let in, this is what it waits for.
            self.wake()
        self._tell()
        return bool(left)

    def check_target(self) -> None:
        """Raise ``BusyResourceError`` if another task is sending on it."""
        self._target.check_idle()

    def has_left(self) -> bool:
        """Whether it ended with something unsent."""
        return bool(self.unsent)

    def sent(self, tags: list[int]) -> None:
        """Tell those who wait for these datagrams of the batch."""
        self.outbox.sent(tags)
        self._tell()

    def refuse(self, tag: int, number: int) -> None:
        """Tell who waits for this datagram of the batch."""
        self.outbox.refuse(tag, number)
        self._tell()

    def hold(self, tag: int, peer: bytes) -> None:
        """Let a datagram wait until its destination has room."""
        assert self._nursery is not None
        if self.outbox.open_lane(peer):
            self._nursery.start_soon(self._wait_for_room, peer)
        self.outbox.hold(tag, peer)

    async def _send_batches(self) -> None:
        try:
            async with trio.open_nursery() as self._nursery:
                with self._ending_all():
                    await self._send_queued()
                self._nursery.cancel_scope.cancel()
        finally:
            if self._ended_by is not None:
                # Out here, so that the nursery does not wrap it in a group.
                raise self._ended_by

    @contextmanager
    def _ending_all(self) -> Iterator[None]:
        """Let the first error of any task in the nursery end them all."""
        assert self._nursery is not None
        try:
            yield
        except Exception as error:  # noqa: BLE001 (raised again)
            if self._ended_by is None:
                self._ended_by = error
            self._nursery.cancel_scope.cancel()

    async def _send_queued(self) -> None:
        outbox = self.outbox
        while outbox.count or not outbox.closed:
            if outbox.has_next() and self.gathering.may_leave():
                await self.gather()
                await self._send_batch()
            else:
                await self._park()

    async def _send_batch(self) -> None:
        # Nothing is waited for between the taking and the first call, so none
        # is withdrawn.
        await checkpoint_if_cancelled()
        batch = self.outbox.take()
        self.gathering.taken()
        payloads = [datagram.payload for datagram in batch]
        tags = [datagram.tag for datagram in batch]
        addresses: list[Address | Directed]
        addresses = [datagram.address for datagram in batch]
        every = [datagram.metadata for datagram in batch]
        metadata = every[0] if every else None
        if every.count(metadata) < len(every):
            metadata = None
            addresses = [direct(one.address, one.metadata) for one in batch]
        begun = self._target.begin_shared(
            payloads, addresses, metadata, tags, self
        )
        if begun is None:
            await cancel_shielded_checkpoint()
            return
        self._dispatch, outcome = begun
        try:
            with trio.CancelScope() as self._batch_scope:
                await self._target.drive_shared(self._dispatch, outcome)
        finally:
            self._dispatch.close()
            self._dispatch = None

    # So that Ctrl-C goes to the main task.
    @enable_ki_protection
    async def _wait_for_room(self, peer: bytes) -> None:
        with self._ending_all():
            await self._target.room_at(peer)
            self.outbox.close_lane(peer)
            self.push()  # It was on its way: no cork holds it back.

    def _keep_unsent(self) -> None:
        for datagram in self.outbox.abandon():
            if datagram.waiter is None:
                payload, address = bytes(datagram.payload), datagram.address
                self.unsent.append(
                    (payload, address)
                    if datagram.metadata is None
                    else (payload, address, datagram.metadata)
                )

    def _abandon(self) -> Iterable[Hashable]:
        freed, self.outbox.freed = self.outbox.freed, []
        return *freed, *super()._abandon()

    def _tell(self) -> None:
        if self.outbox.freed:
            freed, self.outbox.freed = self.outbox.freed, []
            reschedule_all(freed)
        self.let_in()
