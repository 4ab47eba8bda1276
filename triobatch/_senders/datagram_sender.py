"""Many tasks, one datagram socket: what they call."""

from __future__ import annotations

from itertools import compress
from typing import TYPE_CHECKING

import trio
from trio.lowlevel import (
    Abort,
    cancel_shielded_checkpoint,
    checkpoint_if_cancelled,
    current_task,
    enable_ki_protection,
    wait_task_rescheduled,
)

from triobatch._datagrams.errors import DatagramErrorGroup
from triobatch._queues.buffers import Buffers
from triobatch._queues.datagrams import as_datagrams
from triobatch._queues.views import release, view_of_bytes
from triobatch._resource import Claim
from triobatch._senders.datagram_task import DatagramSendingTask
from triobatch._senders.queued_datagram import QueuedDatagram, Waiter
from triobatch._senders.statistics import SenderStatistics

if TYPE_CHECKING:
    from collections.abc import Iterable

    from trio.lowlevel import RaiseCancelT
    from typing_extensions import Buffer

    from triobatch._datagrams.socket import DatagramSocket
    from triobatch._queues.datagrams import Datagram, Datagrams
    from triobatch._wire.addresses import Address

# What a datagram counts for beside its bytes, so that those without any are
# not let in without end.
_OVERHEAD = 64


class DatagramBatchSender:
    """Sends the datagrams of any number of tasks; see ``open_batch_sender``.

    Datagrams to one address leave in the order of the calls.
    """

    def __init__(self, target: DatagramSocket, max_buffered: int) -> None:
        self._target = target
        self._max_buffered = max_buffered
        self._sending = DatagramSendingTask(target)
        self._outbox = self._sending.outbox

    @property
    def unsent(self) -> list[tuple[bytes, Address]]:
        """What ``send_nowait`` had queued, and was not sent, in order.

        Empty until the block was left, or the socket failed.
        """
        return self._sending.unsent

    @enable_ki_protection
    async def send(
        self, data: Buffer | Buffers, address: Address = None
    ) -> None:
        """Send one datagram, and wait for what becomes of it.

        Args:
          data: The payload. The chunks of a ``Buffers`` are gathered into the
            one datagram, and consumed when the kernel has taken it.
          address: Where to; ``None`` is the connected peer.

        Raises:
          DatagramError: an OSError: the kernel refused this datagram.
          TypeError, ValueError: an argument is impossible.
          BufferError: ``data`` is not contiguous.
          trio.BusyResourceError: ``data`` is a ``Buffers`` that is being sent.
          trio.ClosedResourceError: the block was left before it was sent, or
            the socket closed.
          trio.BrokenResourceError: the socket has failed.

        It returns when the kernel has the datagram. If it is cancelled, the
        datagram was not sent, and will not be: once the kernel has it, it is
        too late to cancel.
        """
        self._target._send.peer_of(address)
        if isinstance(data, Buffers):
            with Claim(data):
                payload = b"".join(data)
                await self._send(payload, address)
                data._consume(len(payload))
        elif type(data) is bytes:
            await self._send(data, address)
        else:
            with view_of_bytes(data, "data") as view:
                await self._send(view, address)

    @enable_ki_protection
    async def send_batch(
        self, datagrams: Datagrams | Iterable[Datagram]
    ) -> int:
        """Send a batch of datagrams, and wait for what becomes of it.

        Args:
          datagrams: ``(payload, address)`` pairs. Those of a ``Datagrams``
            that the kernel has taken are consumed when this returns, or
            raises anything.

        Returns:
          How many datagrams were sent: all of them.

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
        queue = as_datagrams(datagrams)
        with Claim(queue):
            payloads, addresses = queue._columns()
            for address in addresses:
                self._target._send.peer_of(address)
            waiter = Waiter(current_task(), len(payloads))
            # Views of our own, so that no queue exports what is withdrawn.
            views = [
                payload if type(payload) is bytes else memoryview(payload)
                for payload in payloads
            ]
            queued = [
                QueuedDatagram(payload, address, waiter, index)
                for index, (payload, address) in enumerate(
                    zip(views, addresses, strict=True)
                )
            ]
            try:
                await self._send_all(queued, waiter)
            finally:
                release(views)
                # Others may have been added meanwhile, behind these.
                unsent = [not datagram.sent for datagram in queued]
                count = len(queued)
                payloads[:count] = compress(payloads, unsent)
                addresses[:count] = compress(addresses, unsent)
        if waiter.errors:
            raise DatagramErrorGroup(waiter.errors, waiter.sent)
        return waiter.sent

    @enable_ki_protection
    def send_nowait(
        self, data: Buffer | Buffers, address: Address = None
    ) -> None:
        """Queue one datagram, of which nobody learns what becomes.

        The statistics count what was refused.

        Args:
          data: The payload, which is copied unless it is ``bytes``. A
            ``Buffers`` is consumed.
          address: Where to; ``None`` is the connected peer.

        Raises:
          trio.WouldBlock: more than ``max_buffered`` bytes are buffered,
            where a datagram counts 64 bytes more than it has.
          trio.ClosedResourceError: the block was left, or the socket closed.
          trio.BrokenResourceError: the socket has failed.

        Synchronous, and not a checkpoint.
        """
        outbox = self._outbox
        self._target._send.peer_of(address)
        self._sending.check_open()
        full = outbox.nbytes + _OVERHEAD * outbox.count > self._max_buffered
        if isinstance(data, Buffers):
            with Claim(data):
                payload = b"".join(data)
                if not full:
                    data._consume(len(payload))
        elif type(data) is bytes:
            payload = data
        else:
            with view_of_bytes(data, "data") as view:
                payload = bytes(view)
        if full:
            raise trio.WouldBlock
        self._sending.put([QueuedDatagram(payload, address)])

    @enable_ki_protection
    async def flush(self) -> None:
        """Wait until all that was queued before this call is out.

        Each datagram was then taken by the kernel or refused.

        Raises:
          trio.ClosedResourceError: the block was left before that, or the
            socket closed.
          trio.BrokenResourceError: the socket has failed.
        """
        await checkpoint_if_cancelled()
        await self._sending.checkpoint_if_ended()
        await self._flush()

    def statistics(self) -> SenderStatistics:
        """Return what this sender has done so far."""
        outbox = self._outbox
        return SenderStatistics(
            buffered_size=outbox.nbytes,
            peak_size=outbox.peak,
            waiting=outbox.waiting,
            messages=outbox.messages,
            refused=outbox.refused,
            batches=outbox.batches,
            send_calls=self._sending.send_calls,
            longest_wait=outbox.longest_wait,
        )

    async def _send(
        self, payload: bytes | memoryview, address: Address
    ) -> None:
        waiter = Waiter(current_task(), 1)
        await self._send_all(
            [QueuedDatagram(payload, address, waiter)], waiter
        )
        if waiter.errors:
            # The error's traceback has this frame, which must not have it.
            raise waiter.errors.pop()

    async def _send_all(
        self, queued: list[QueuedDatagram], waiter: Waiter
    ) -> None:
        await checkpoint_if_cancelled()
        await self._sending.checkpoint_if_ended()
        if not queued:
            await cancel_shielded_checkpoint()
            return
        self._sending.put(queued)

        def abort(_: RaiseCancelT) -> Abort:
            withdrawn = self._sending.withdraw(queued)
            return Abort.SUCCEEDED if withdrawn else Abort.FAILED

        await wait_task_rescheduled(abort)
        if waiter.left:
            self._sending.raise_ended()

    async def _send_the_rest(self) -> None:
        """Let nothing more in, and wait until all the rest was sent."""
        self._sending.finish()
        if self._sending.cause is None:
            await self._flush()
        elif self._sending.unsent:
            self._sending.raise_ended()

    async def _flush(self) -> None:
        task = current_task()
        if self._outbox.wait_flushed(task):
            await self._sending.wait(lambda: self._outbox.withdraw_flush(task))
        else:
            await cancel_shielded_checkpoint()
