"""Many tasks, one datagram socket: what they call, and how they hear of it.

What one of them is cancelled in is a wait for the outcome, and the outcome is
told with the system call (see ``datagram_task``): so its datagram is either in
a queue, from which it is taken, or in the kernel, and the task knows it.
"""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
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
from triobatch._datagrams.errors import DatagramErrorGroup, Errors, ignores
from triobatch._queues.buffers import Buffers, drop
from triobatch._queues.datagrams import (
    Datagram,
    Datagrams,
    Directed,
    as_datagrams,
)
from triobatch._queues.views import kept_view, release
from triobatch._resource import Claim
from triobatch._senders.datagram_outbox import (
    QueuedDatagram,
    Unsent,
    Waiter,
)
from triobatch._senders.datagram_room import QueueingSender
from triobatch._senders.datagram_task import DatagramSendingTask
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
