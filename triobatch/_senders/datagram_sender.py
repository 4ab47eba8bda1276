"""Many tasks, one datagram socket: what they call, and the task that sends.

The task of each datagram learns its outcome. Nothing is waited for between a
system call and the account of it, so at any moment at which a task can be
cancelled its datagram is either in a queue, from which it is taken, or in the
kernel, and the task has been told that it was sent. The sending task may wait
with a batch in hand: the rest of the batch is one of the queues.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Iterator
from contextlib import contextmanager, suppress
from itertools import compress

import trio
from trio.lowlevel import (
    Abort,
    RaiseCancelT,
    cancel_shielded_checkpoint,
    checkpoint_if_cancelled,
    current_task,
    enable_ki_protection,
    wait_task_rescheduled,
)

from triobatch._datagrams.abstract_socket import AbstractDatagramSocket
from triobatch._datagrams.dispatch import Dispatch
from triobatch._datagrams.errors import DatagramErrorGroup, Errors, ignores
from triobatch._queues.buffers import Buffers, drop
from triobatch._queues.datagrams import (
    Datagram,
    Datagrams,
    Directed,
    as_datagrams,
    direct,
)
from triobatch._queues.views import kept_view, release
from triobatch._resource import Claim
from triobatch._senders.datagram_outbox import (
    DatagramOutbox,
    QueuedDatagram,
    Unsent,
    Waiter,
)
from triobatch._senders.datagram_room import QueueingSender, QueueingTask
from triobatch._senders.task import reschedule_all
from triobatch._wire.addresses import Address
from triobatch._wire.hints import Buffer
from triobatch._wire.metadata import Metadata


class DatagramBatchSender(QueueingSender):
    """Sends the datagrams of any number of tasks; see ``open_batch_sender``.

    Datagrams to one address leave in the order of the calls.

    Attributes:
      errors: What becomes of refused datagrams where a call does not say:
        ``"raise"``, or ``"ignore"``, which counts and drops them.
      metadata: What the IP header of a datagram shall say where neither a
        call nor the datagram does; ``None``, so that it is left to the
        socket.
    """

    def __init__(
        self, target: AbstractDatagramSocket, max_buffered: int
    ) -> None:
        self.errors: Errors = "raise"
        self.metadata: Metadata | None = None
        self._target = target
        task = DatagramSendingTask(target, max_buffered)
        self._task: DatagramSendingTask = task

    @property
    def unsent(self) -> list[Unsent]:
        """What was only queued, and was not sent, in order.

        As ``send_batch`` takes it: pairs, or with metadata as a third item.

        Empty until the block was left, or the socket failed.
        """
        return self._task.unsent

    @enable_ki_protection
    async def send(
        self,
        data: Buffer | Buffers,
        address: Address = None,
        *,
        metadata: Metadata | None = None,
        errors: Errors | None = None,
    ) -> None:
        """Send one datagram, and wait for what becomes of it.

        Args:
          data: The payload. The chunks of a ``Buffers`` are gathered into the
            one datagram, and consumed when the kernel has taken it.
          address: Where to; ``None`` is the connected peer.
          metadata: What its IP header shall say; see ``metadata``.
          errors: ``"ignore"`` drops it if it is refused; see ``errors``.

        Raises:
          DatagramError: an OSError: the kernel refused this datagram.
          TypeError, ValueError, BufferError: an argument is impossible.
          trio.BusyResourceError: ``data`` is a ``Buffers`` that is being sent.
          trio.ClosedResourceError: the block was left before it was sent, or
            the socket closed.
          trio.BrokenResourceError: the socket has failed.

        If it is cancelled, the datagram was not sent, and will not be: once
        the kernel has it, it is too late to cancel.

        While a cork is there it returns as soon as the datagram is queued, as
        ``send_nowait``: what becomes of it is known after the block's end.
        """
        waiter = Waiter(current_task(), ignore=ignores(errors or self.errors))
        metadata = self._checked(address, metadata)
        if self._task.gathering.corks:
            await checkpoint_if_cancelled()
            await self._task.checkpoint_if_ended()
            with suppress(trio.WouldBlock):
                self.send_nowait(data, address, metadata=metadata)
                return await self._task.queued()
        if isinstance(data, Buffers):
            with Claim(data):
                payload = bytes(data)
                await self._send(
                    QueuedDatagram(payload, address, metadata), waiter
                )
                drop(data, len(payload))
        elif type(data) is bytes:
            await self._send(QueuedDatagram(data, address, metadata), waiter)
        else:
            with kept_view(data, "data") as view:
                await self._send(
                    QueuedDatagram(view, address, metadata), waiter
                )
        return None

    @enable_ki_protection
    async def send_batch(
        self,
        datagrams: Datagrams | Iterable[Datagram],
        *,
        metadata: Metadata | None = None,
        errors: Errors | None = None,
    ) -> int:
        """Send a batch of datagrams, and wait for what becomes of it.

        Args:
          datagrams: ``(payload, address)`` pairs, or ``(payload, address,
            metadata)``. Those of a ``Datagrams`` that the kernel has taken
            are consumed when this returns, or raises anything.
          metadata: What the IP header of each shall say that has none of its
            own; see ``metadata``.
          errors: ``"ignore"`` drops those that are refused; see ``errors``.

        Returns:
          How many datagrams were sent: all of them, but for the ignored.

        Raises:
          DatagramErrorGroup: some were refused, with a ``DatagramError`` for
            each; all others were sent. A ``Datagrams`` holds the refused
            ones.
          TypeError, ValueError: an argument is impossible. Nothing was done.
          trio.BusyResourceError: ``datagrams`` is a ``Datagrams`` that is
            being sent.
          trio.ClosedResourceError: the block was left before they were sent,
            or the socket closed.
          trio.BrokenResourceError: the socket has failed.

        If it is cancelled, those that the kernel has not yet taken are
        withdrawn. After any exception a ``Datagrams`` holds exactly what was
        not sent, in order, and can be passed again.
        """
        waiter = Waiter(current_task(), ignore=ignores(errors or self.errors))
        queue = as_datagrams(datagrams)
        with Claim(queue):
            payloads, addresses = queue._columns()
            metadata = self._checked(None, metadata)
            self._task.check_all(addresses)
            # Views of our own, to be released: the sending task may have what
            # is withdrawn a while longer.
            views = [
                payload if type(payload) is bytes else memoryview(payload)
                for payload in payloads
            ]
            queued = [
                QueuedDatagram(view, address.address, address.metadata)
                if isinstance(address, Directed)
                else QueuedDatagram(view, address, metadata)
                for view, address in zip(views, addresses, strict=True)
            ]
            try:
                await self._send_all(queued, waiter)
            finally:
                # A traceback would keep a queue of our own.
                release(views if queue is datagrams else [*views, *payloads])
                # Others may have been added meanwhile, behind these.
                unsent = [not datagram.done for datagram in queued]
                payloads[: len(queued)] = compress(payloads, unsent)
                addresses[: len(queued)] = compress(addresses, unsent)
        if waiter.errors:
            raise DatagramErrorGroup(waiter.errors, waiter.sent)
        return waiter.sent

    async def _send(self, queued: QueuedDatagram, waiter: Waiter) -> None:
        await self._send_all([queued], waiter)
        if waiter.errors:
            # Its traceback holds this frame, which must not hold it.
            raise waiter.errors.pop().as_lone()

    async def _send_all(
        self, queued: list[QueuedDatagram], waiter: Waiter
    ) -> None:
        await checkpoint_if_cancelled()
        await self._task.checkpoint_if_ended()
        if not queued:
            await cancel_shielded_checkpoint()
            return
        self._task.put(queued, waiter)
        if self._task.gathering.corks:
            self._task.push()

        def abort(_: RaiseCancelT) -> Abort:
            withdrawn = self._task.withdraw(queued)
            return Abort.SUCCEEDED if withdrawn else Abort.FAILED

        await wait_task_rescheduled(abort)
        if waiter.left:
            self._task.raise_ended()


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
        batch = self.outbox.take()
        self.gathering.taken()
        addresses: list[Address | Directed]
        addresses = [datagram.address for datagram in batch]
        every = [datagram.metadata for datagram in batch]
        metadata = every[0] if every else None
        if every.count(metadata) < len(every):
            metadata = None
            addresses = [direct(one.address, one.metadata) for one in batch]
        self._dispatch = self._target.dispatch(
            [datagram.payload for datagram in batch],
            addresses,
            metadata,
            observer=self,
            tags=[datagram.tag for datagram in batch],
        )
        try:
            with trio.CancelScope() as self._batch_scope:
                await self._target.drive_shared(self._dispatch)
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
