"""Many tasks, one datagram socket: what they call."""

from __future__ import annotations

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

from triobatch._buffers import Buffers
from triobatch._datagram_errors import DatagramErrorGroup
from triobatch._datagram_sending_task import (
    DatagramSendingTask,
    QueuedDatagram,
    Waiter,
)
from triobatch._datagrams import as_datagrams
from triobatch._guard import InFlight
from triobatch._sender_statistics import SenderStatistics
from triobatch._views import view_of_bytes

if TYPE_CHECKING:
    from collections.abc import Iterable

    from trio.lowlevel import RaiseCancelT, Task
    from typing_extensions import Buffer

    from triobatch._addresses import Address
    from triobatch._datagram_socket import DatagramSocket
    from triobatch._datagrams import Datagram, Datagrams

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
        self._calls_before = target.statistics().send_calls

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
        self._target._sending.check_address(address)
        if isinstance(data, Buffers):
            with InFlight(data):
                payload = b"".join(data)
                await self._send(payload, address)
                data._consume(len(payload))
        elif type(data) is bytes:
            await self._send(data, address)
        else:
            with view_of_bytes(data) as view:
                await self._send(view, address)

    @enable_ki_protection
    async def send_batch(
        self, datagrams: Datagrams | Iterable[Datagram]
    ) -> int:
        """Send a batch of datagrams, and wait for what becomes of it.

        Args:
          datagrams: ``(payload, address)`` pairs. A ``Datagrams`` is not
            consumed.

        Returns:
          How many datagrams were sent: all of them.

        Raises:
          DatagramErrorGroup: some were refused, with a ``DatagramError`` for
            each; all others were sent.
          TypeError, ValueError: an argument is impossible.
          trio.ClosedResourceError: the block was left before they were sent,
            or the socket closed.
          trio.BrokenResourceError: the socket has failed.

        If it is cancelled, those that the kernel has not yet taken are
        withdrawn.
        """
        batch = as_datagrams(datagrams)
        for _, address in batch:
            self._target._sending.check_address(address)
        waiter = await self._send_all(batch)
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
        sending = self._sending
        self._target._sending.check_address(address)
        self._check_open()
        full = sending.nbytes + _OVERHEAD * sending.count > self._max_buffered
        if isinstance(data, Buffers):
            with InFlight(data):
                payload = b"".join(data)
                if not full:
                    data._consume(len(payload))
        elif type(data) is bytes:
            payload = data
        else:
            with view_of_bytes(data) as view:
                payload = bytes(view)
        if full:
            raise trio.WouldBlock
        sending.put(QueuedDatagram(payload, address))

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
        await self._checkpoint_if_ended()
        await self._flush()

    def statistics(self) -> SenderStatistics:
        """Return what this sender has done so far."""
        sending = self._sending
        return SenderStatistics(
            buffered_size=sending.nbytes,
            peak_size=sending.peak,
            waiting=sending.waiting,
            messages=sending.messages,
            refused=sending.refused,
            batches=sending.batches,
            send_calls=(
                self._target.statistics().send_calls - self._calls_before
            ),
            longest_wait=sending.longest_wait,
        )

    async def _checkpoint_if_ended(self) -> None:
        # So that a loop that goes on regardless lets others run.
        if self._sending.closed:
            await cancel_shielded_checkpoint()
            self._sending.raise_ended()

    def _check_open(self) -> None:
        if self._sending.closed:
            self._sending.raise_ended()

    async def _send(
        self, payload: bytes | memoryview, address: Address
    ) -> None:
        waiter = await self._send_all([(payload, address)])
        if waiter.errors:
            raise waiter.errors[0]

    async def _send_all(
        self, datagrams: Iterable[tuple[bytes | memoryview, Address]]
    ) -> Waiter:
        await checkpoint_if_cancelled()
        await self._checkpoint_if_ended()
        waiter = Waiter(current_task(), 0)
        queued = [
            QueuedDatagram(payload, address, waiter, index)
            for index, (payload, address) in enumerate(datagrams)
        ]
        count = waiter.left = len(queued)
        if not count:
            await cancel_shielded_checkpoint()
            return waiter
        for datagram in queued:
            self._sending.put(datagram)

        def abort(_: RaiseCancelT) -> Abort:
            withdrawn = list(map(self._sending.withdraw, queued))
            return Abort.SUCCEEDED if any(withdrawn) else Abort.FAILED

        await wait_task_rescheduled(abort)
        if waiter.sent + len(waiter.errors) < count:
            self._sending.raise_ended()
        return waiter

    async def _send_the_rest(self) -> None:
        """Let nothing more in, and wait until all the rest was sent."""
        self._sending.finish()
        if self._sending.cause is None:
            await self._flush()
        elif self._sending.unsent:
            self._sending.raise_ended()

    async def _flush(self) -> None:
        task: Task = current_task()
        if not self._sending.wait_flushed(task):
            await cancel_shielded_checkpoint()
            return

        def abort(_: RaiseCancelT) -> Abort:
            self._sending.withdraw_flush(task)
            return Abort.SUCCEEDED

        await wait_task_rescheduled(abort)
        if self._sending.withdraw_flush(task):
            self._sending.raise_ended()
