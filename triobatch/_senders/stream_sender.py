"""Many tasks, one stream: what they call.

Why everything goes through the one task
----------------------------------------
The first message on an idle connection could be tried at once, from the task
that brings it. But that task often brings more before it yields, a header and
then a body, and each would be a packet of its own. Through the sending task
they leave together, one trip through the scheduler later, and there is one
place where the stream is used and one where it breaks.

A message is queued when ``send`` returns, not sent. A writer task with one
event for all its callers is how trio-websocket came to tell one that its
message was sent and to leave the next waiting for ever
(https://github.com/python-trio/trio-websocket/issues/12). So whoever waits
here has an entry of its own, that is taken out once, by whichever comes first:
room, the kernel, a cancellation, or the end.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import trio
from trio.lowlevel import (
    cancel_shielded_checkpoint,
    checkpoint_if_cancelled,
    current_task,
    enable_ki_protection,
)

from triobatch._queues.buffers import Buffers
from triobatch._queues.views import view_of_bytes
from triobatch._resource import Claim
from triobatch._senders.statistics import SenderStatistics
from triobatch._senders.stream_outbox import Outbox
from triobatch._senders.stream_task import StreamSendingTask

if TYPE_CHECKING:
    from typing_extensions import Buffer


class BatchSender:
    """Sends the messages of any number of tasks; see ``open_batch_sender``.

    Messages leave in the order of the calls, each of them contiguous. A
    message is ``bytes``, which is never copied; or any other bytes-like
    object, which is copied, so that it can be used again at once; or a
    ``Buffers``, whose chunks become one message, without a copy, and which is
    empty afterwards. Its mutable chunks stay exported until they are sent.
    """

    def __init__(
        self, target: trio.abc.SendStream, max_buffered: int, grace: float
    ) -> None:
        self._outbox = Outbox(max_buffered, trio.current_time)
        self._sending = StreamSendingTask(target, self._outbox, grace)

    @property
    def unsent(self) -> list[bytes]:
        """The messages of which nothing was sent, in order.

        Empty until the block was left, or the stream broke. What comes before
        these, in the order of the calls, is ``unfinished``, or ``uncertain``.
        """
        return self._sending.unsent

    @property
    def uncertain(self) -> list[bytes]:
        """Messages of which nobody can say how much was sent, if anything.

        Always empty for a ``BatchSocketStream``. Any other stream, when it
        breaks, or when the grace time is over, does not tell how far it has
        come: these are the messages of the batch that was on its way, 64 KiB
        at most or a single one, whole. After that the stream, if it is TLS,
        is of no more use.
        """
        return self._sending.uncertain

    @property
    def unfinished(self) -> bytes:
        """What is left of a message that was begun, and not finished.

        Through another stream than a ``BatchSocketStream`` only of a message
        above 64 KiB, from its last piece of that size on of which nobody can
        say how much was sent. ``b""``, with nothing ``uncertain``, when the
        stream has stopped at a message boundary, and can go on to be used.
        """
        return self._sending.unfinished

    @enable_ki_protection
    async def send(self, data: Buffer | Buffers) -> None:
        """Queue a message; wait while too much is buffered.

        Args:
          data: One message, of any size. An empty one is none.

        Raises:
          TypeError: ``data`` does not have the buffer protocol.
          BufferError: it is not contiguous.
          trio.BusyResourceError: ``data`` is a ``Buffers`` that is being sent.
          trio.BrokenResourceError: the connection broke, now or earlier.
          trio.ClosedResourceError: the block was left, or the stream closed.

        After any exception, ``Cancelled`` included, the message is not
        queued, and will not be sent. Tasks that wait for room get it in the
        order of their calls, and nobody overtakes them.
        """
        if type(data) is not bytes:
            if isinstance(data, Buffers):
                return await self._send_gathered(data)
            data = _copy(data)
        await checkpoint_if_cancelled()
        if self._outbox.put(data):
            if self._sending.parked is not None:
                self._sending.wake()
            await cancel_shielded_checkpoint()
        else:
            await self._wait_for_room(data)
        return None

    @enable_ki_protection
    def send_nowait(self, data: Buffer | Buffers) -> None:
        """Queue a message, if there is room; see ``send``.

        Raises:
          trio.WouldBlock: more than ``max_buffered`` bytes are buffered, or a
            task waits for room.

        Synchronous, and not a checkpoint. What is queued between two
        checkpoints leaves in one batch.
        """
        if type(data) is bytes:
            queued = self._outbox.put(data)
        elif isinstance(data, Buffers):
            with Claim(data):
                message = data.copy()
                queued = self._outbox.put(message)
                (data if queued else message)._consume(message.nbytes)
        else:
            queued = self._outbox.put(_copy(data))
        if queued:
            self._sending.wake()
            return
        self._sending.check_open()
        raise trio.WouldBlock

    @enable_ki_protection
    async def flush(self) -> None:
        """Wait until the kernel has all that was queued before this call.

        Through another stream than a ``BatchSocketStream``: until that has.

        Raises:
          trio.BrokenResourceError: the connection broke, now or earlier.
          trio.ClosedResourceError: the block was left before that, or the
            stream closed.

        What others queue meanwhile may be waited for too, as far as it leaves
        in the same batch. Cancelling this cancels nothing else.
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
            refused=0,
            batches=outbox.batches,
            send_calls=self._sending.send_calls,
            longest_wait=outbox.longest_wait,
        )

    async def _send_gathered(self, data: Buffers) -> None:
        await checkpoint_if_cancelled()
        # Until the message is queued, nobody else consumes it.
        with Claim(data):
            message = data.copy()
            size = message.nbytes
            if self._outbox.put(message):
                data._consume(size)
                self._sending.wake()
                await cancel_shielded_checkpoint()
                return
            try:
                await self._wait_for_room(message)
            except BaseException:
                message.clear()
                raise
            data._consume(size)

    async def _wait_for_room(self, message: bytes | Buffers) -> None:
        await self._sending.checkpoint_if_ended()
        task = current_task()
        self._outbox.wait(task, message)
        await self._sending.wait(lambda: self._outbox.withdraw(task))

    async def _send_the_rest(self) -> None:
        """Let nothing more in, and wait until all the rest was sent."""
        sending = self._sending
        sending.finish()
        if sending.cause is not None and sending.has_left():
            sending.raise_ended()
        await self._flush()

    async def _flush(self) -> None:
        if not self._outbox.nbytes:
            await cancel_shielded_checkpoint()
            return
        task = current_task()
        self._outbox.wait_flushed(task)
        await self._sending.wait(lambda: self._outbox.withdraw(task))


def _copy(data: Buffer) -> bytes:
    with view_of_bytes(data, "data") as view:
        return bytes(view)
