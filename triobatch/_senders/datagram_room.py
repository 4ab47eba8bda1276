"""Queueing datagrams whose outcome nobody waits for: only room is waited for.

``Room`` is sans-IO: it says whether there is room, and who is next to get it.
The tokens are whatever the caller knows those who wait by.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterable
from dataclasses import replace
from typing import Final

import trio
from trio.lowlevel import (
    cancel_shielded_checkpoint,
    checkpoint_if_cancelled,
    current_task,
    enable_ki_protection,
)

from triobatch._queues.buffers import Buffers, drop
from triobatch._queues.views import view_of_bytes
from triobatch._resource import Claim
from triobatch._senders.datagram_outbox import DatagramOutbox, QueuedDatagram
from triobatch._senders.statistics import SenderStatistics
from triobatch._senders.task import Sender, SendingTask, reschedule_all
from triobatch._wire.addresses import Address
from triobatch._wire.control import Control
from triobatch._wire.hints import Buffer
from triobatch._wire.metadata import Metadata

# Bytes that a datagram counts for beside its own, so that empty ones are not
# let in without end.
_OVERHEAD: Final = 64

# Datagrams that are gathered, at most, from a task that queues one a turn.
_GATHERED: Final = 128


class Room:
    """The room of an outbox, and those who wait for some, in order.

    Args:
      max_buffered: Bytes. A datagram is let in while no more than this is
        buffered.
      outbox: Where they are queued.
    """

    def __init__(self, max_buffered: int, outbox: DatagramOutbox) -> None:
        self._max_buffered = max_buffered
        self._outbox = outbox
        self._waiting: OrderedDict[Hashable, QueuedDatagram] = OrderedDict()
        # Those that waited in vain, until they withdraw.
        self._refused: dict[Hashable, None] = {}

    @property
    def waiting(self) -> int:
        """How many wait for room."""
        return len(self._waiting)

    def put(self, datagram: QueuedDatagram) -> bool:
        """Queue a datagram, if there is room, and nobody waits for room."""
        outbox = self._outbox
        # As ``_has_some``. With its frame, with those of ``wake`` and
        # ``check_open`` where they do nothing, and with a max(), queueing one
        # took 20 % more instructions.
        if (
            self._waiting
            or outbox.closed
            or outbox.nbytes + _OVERHEAD * outbox.count > self._max_buffered
        ):
            return False
        outbox.put([datagram])
        return True

    def put_later(self, token: Hashable, datagram: QueuedDatagram) -> None:
        """Queue a datagram as soon as there is room, in the order of calls."""
        self._waiting[token] = datagram

    def withdraw(self, token: Hashable) -> bool:
        """Wait no longer; return False if the datagram was queued."""
        if token in self._refused:
            del self._refused[token]
            return True
        return self._waiting.pop(token, None) is not None

    def let_in(self) -> list[Hashable]:
        """Queue what there is room for; return whose datagrams these were."""
        let_in: list[Hashable] = []
        while self._waiting and self._has_some():
            token, datagram = self._waiting.popitem(last=False)
            self._outbox.put([datagram])
            let_in.append(token)
        return let_in

    def close(self) -> list[Hashable]:
        """Return who waits, and does so in vain: the outbox is closed."""
        tokens = list(self._waiting)
        self._waiting.clear()
        self._refused.update(dict.fromkeys(tokens))
        return tokens

    def _has_some(self) -> bool:
        outbox = self._outbox
        size = outbox.nbytes + _OVERHEAD * outbox.count
        return size <= self._max_buffered and not outbox.closed


class QueueingTask(SendingTask):
    """A task that sends datagrams, as far as they wait for room.

    Args:
      outbox: Where others queue them.
      count_calls: Returns the target's system calls.
      max_buffered: Bytes; see ``Room``.

    Attributes:
      peer_of: Returns the sockaddr for an address; raises TypeError or
        ValueError if it is none for this socket.
      control_of: Returns what asks for metadata; raises them, too.
    """

    outbox: DatagramOutbox
    peer_of: Callable[[Address], bytes]
    control_of: Callable[[Metadata | None], Control]

    def __init__(
        self,
        outbox: DatagramOutbox,
        count_calls: Callable[[], int],
        max_buffered: int,
    ) -> None:
        super().__init__(outbox, count_calls)
        self._room = Room(max_buffered, outbox)
        # Whether what was queued came from a task that may bring more.
        self._growing = False

    def put_if_room(
        self, datagram: QueuedDatagram, *, more: bool = False
    ) -> bool:
        """Queue a datagram that nobody waits for, if there is room.

        Args:
          datagram: What to queue.
          more: Whether others may follow it, a turn of the scheduler later.

        Returns:
          Whether it was queued.
        """
        if not self._room.put(datagram):
            return False
        self._growing |= more
        if self.parked is not None:
            self.wake()
        return True

    async def put_later(self, datagram: QueuedDatagram) -> None:
        """Wait for room, and queue a datagram that nobody waits for."""
        task = current_task()
        self._room.put_later(task, datagram)
        self.push()
        await self.wait(lambda: self._room.withdraw(task))

    async def gather(self) -> None:
        """Let the queue grow, while the turns of the scheduler add to it.

        A task that queues one datagram a turn would have each sent in a batch
        of its own. It may have its turn before this task or behind it, so two
        turns that add nothing are the end of it.
        """
        if not self._growing:
            return
        self._growing = False
        outbox = self.outbox
        count = idle = 0
        while (
            idle < 2
            and outbox.count < _GATHERED
            and not outbox.is_awaited
            and not self._room.waiting
        ):
            idle = 0 if outbox.count > count else idle + 1
            count = outbox.count
            await cancel_shielded_checkpoint()

    def let_in(self) -> None:
        """Queue what waits for room, if there is some."""
        if self._room.waiting and (let_in := self._room.let_in()):
            reschedule_all(let_in)
            if self._room.waiting:
                # No cork holds back what others wait behind.
                self.push()
            else:
                self.wake()

    def finish(self) -> None:
        """Let nothing more in, and end when all the rest was sent."""
        super().finish()
        reschedule_all(self._room.close())

    def statistics(self) -> SenderStatistics:
        """Return what it has done so far."""
        done = super().statistics()
        return replace(done, waiting=done.waiting + self._room.waiting)

    def _abandon(self) -> Iterable[Hashable]:
        return self._room.close()


class QueueingSender(Sender):
    """What a ``DatagramBatchSender`` does without waiting for an outcome."""

    metadata: Metadata | None
    _task: QueueingTask

    @enable_ki_protection
    async def queue(
        self,
        data: Buffer | Buffers,
        address: Address = None,
        *,
        metadata: Metadata | None = None,
    ) -> None:
        """Queue one datagram; wait while too much is buffered.

        What becomes of it is only counted, in ``statistics``. A loop of these
        sends in batches: while the queue grows from one turn of the scheduler
        to the next, the sending task lets it grow, to 128 datagrams. ::

            for reading in readings:
                await sender.queue(encode(reading), collector)

        Args:
          data: The payload, which is copied unless it is ``bytes``. A
            ``Buffers`` is gathered into the one datagram, and consumed when
            that is queued.
          address: Where to; ``None`` is the connected peer.
          metadata: What its IP header shall say; see ``metadata``.

        Raises:
          TypeError, ValueError, BufferError: an argument is impossible.
          trio.BusyResourceError: ``data`` is a ``Buffers`` that is being sent.
          trio.ClosedResourceError: the block was left, or the socket closed.
          trio.BrokenResourceError: the socket has failed.

        After any exception, ``Cancelled`` included, the datagram is not
        queued, and will not be sent. Tasks that wait for room get it in the
        order of their calls, and nobody who only queues overtakes them.
        """
        metadata = self._checked(address, metadata)
        if type(data) is bytes:
            await self._queue(QueuedDatagram(data, address, metadata))
        elif isinstance(data, Buffers):
            with Claim(data):
                payload = bytes(data)
                await self._queue(QueuedDatagram(payload, address, metadata))
                drop(data, len(payload))
        else:
            payload = _copy(data)
            await self._queue(QueuedDatagram(payload, address, metadata))

    @enable_ki_protection
    def send_nowait(
        self,
        data: Buffer | Buffers,
        address: Address = None,
        *,
        metadata: Metadata | None = None,
    ) -> None:
        """Queue one datagram, if there is room; see ``queue``.

        Args:
          data: The payload, which is copied unless it is ``bytes``. A
            ``Buffers`` is consumed.
          address: Where to; ``None`` is the connected peer.
          metadata: What its IP header shall say; see ``metadata``.

        Raises:
          trio.WouldBlock: more than ``max_buffered`` bytes are buffered,
            where a datagram counts 64 bytes more than it has; or a task waits
            for room.
          trio.ClosedResourceError: the block was left, or the socket closed.
          trio.BrokenResourceError: the socket has failed.

        Synchronous, and not a checkpoint. What is queued between two
        checkpoints leaves in one batch.
        """
        metadata = self._checked(address, metadata)
        if self._task.outbox.closed:
            self._task.check_open()
        if isinstance(data, Buffers):
            with Claim(data):
                payload = bytes(data)
                queued = self._task.put_if_room(
                    QueuedDatagram(payload, address, metadata)
                )
                if queued:
                    drop(data, len(payload))
        else:
            payload = data if type(data) is bytes else _copy(data)
            queued = self._task.put_if_room(
                QueuedDatagram(payload, address, metadata)
            )
        if not queued:
            # No cork is to keep the room that it will be tried for again.
            self._task.push()
            raise trio.WouldBlock

    def _checked(
        self, address: Address, metadata: Metadata | None
    ) -> Metadata | None:
        """Return the metadata of a call whose arguments are possible."""
        self._task.peer_of(address)
        if metadata is None:
            metadata = self.metadata
        if metadata is not None:
            self._task.control_of(metadata)
        return metadata

    async def _queue(self, datagram: QueuedDatagram) -> None:
        await checkpoint_if_cancelled()
        if self._task.put_if_room(datagram, more=True):
            await cancel_shielded_checkpoint()
        else:
            await self._task.checkpoint_if_ended()
            await self._task.put_later(datagram)


def _copy(data: Buffer) -> bytes:
    with view_of_bytes(data, "data") as view:
        return bytes(view)
