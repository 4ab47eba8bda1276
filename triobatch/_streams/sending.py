"""The sending half of a stream: the loop that sends, waits and yields."""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING, Protocol

import trio
from trio.lowlevel import (
    cancel_shielded_checkpoint,
    checkpoint,
    checkpoint_if_cancelled,
    current_task,
    enable_ki_protection,
)

from triobatch._core.chunks import measure
from triobatch._core.counts import os_error
from triobatch._queues.buffers import Buffers
from triobatch._queues.views import check_chunks
from triobatch._resource import (
    Claim,
    open_fd,
    pause_after,
    raise_stream_error,
)
from triobatch._streams import notsent_lowat as _notsent_lowat
from triobatch._streams.gather import Gather, send_list

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from trio.socket import SocketType

    from triobatch._resource import Guard
    from triobatch._wire.hints import Buffer

# A peer that reads as fast as we write never makes us wait. So that the other
# tasks get their turn, a long send yields each time it has sent this many
# bytes: 7 us in about 500 (loopback).
_YIELD_SIZE = 2**20
# And a call that cannot yield ends. It took 1.6 us a kilobyte of chunks of
# 200 bytes, so 3 ms in all, and up to 3 more for the last push.
NOWAIT_SIZE = 2**21


class _Batch(Protocol):
    def push(self, fd: int) -> tuple[int, bool]:
        """Make one system call; return the bytes taken, and if it was all."""


class SendHalf:
    """Sends ``Buffers`` on one socket. Its caller lets in one at a time."""

    def __init__(self, socket: SocketType) -> None:
        self._socket = socket
        # False where there is no TCP_NOTSENT_LOWAT, or its value is a user's.
        self.may_lift: bool = _notsent_lowat.set_default(socket)
        # Its value while it is lifted.
        self._lifted: int = 0
        self.bytes_sent: int = 0
        self.calls: int = 0
        self.partial_writes: int = 0
        self.waits: int = 0

    async def send(self, buffers: Buffers, *, refused: bool = False) -> int:
        """Send until nothing is left; return the bytes sent.

        Args:
          buffers: What to send.
          refused: Whether the kernel has just turned some of it down, so that
            waiting comes before the next call.
        """
        await checkpoint_if_cancelled()
        before = unyielded_from = self.bytes_sent
        yielded = False
        idle = 0
        try:
            gather = Gather(buffers)
            if not gather.left:
                open_fd(self._socket)
            with Claim(buffers):
                if self._lifted:
                    self._put_back_before(gather.left)
                while gather.left:
                    whole = not refused and self._push(
                        gather, open_fd(self._socket)
                    )
                    refused = False
                    if not gather.left:
                        break
                    if whole:
                        if self.bytes_sent - unyielded_from < _YIELD_SIZE:
                            continue
                        await checkpoint()
                    elif self._lift_for(gather.left):
                        continue
                    else:
                        # The kernel's buffer is full, or all but full.
                        moved = self.bytes_sent > unyielded_from
                        idle = 0 if moved else idle + 1
                        await self.wait_writable()
                        await pause_after(idle)
                    yielded = True
                    unyielded_from = self.bytes_sent
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            # A loop that goes on after the error must not starve other tasks.
            await cancel_shielded_checkpoint()
            raise
        if not yielded:
            await cancel_shielded_checkpoint()
        return self.bytes_sent - before

    # Between the guard's being taken and let go, and the kernel's taking the
    # bytes and their being accounted for, Ctrl-C is held off.
    @enable_ki_protection
    async def send_list(self, chunks: list[Buffer], guard: Guard) -> int:
        """Send a list within the guard, the short way if that will do."""
        if guard.busy:
            guard.check()
        guard.busy = True
        guard.task = current_task()
        try:
            await checkpoint_if_cancelled()
            try:
                answer = self.try_list(chunks)
            except (trio.BrokenResourceError, trio.ClosedResourceError):
                await cancel_shielded_checkpoint()
                raise
            if answer is None:
                return await self.send_iterable(chunks)
            sent, rest = answer
            if rest is None:
                await cancel_shielded_checkpoint()
                return sent
            # Not from the list, which another thread may have changed.
            return sent + await self.send_iterable((rest,), refused=True)
        finally:
            guard.busy = False
            guard.task = None

    async def send_iterable(
        self, chunks: Iterable[Buffer], *, refused: bool = False
    ) -> int:
        """Send chunks that nobody needs to see consumed; see ``send``."""
        if type(chunks) not in (list, tuple):
            check_chunks(chunks, "buffers")
        buffers = Buffers(chunks)
        try:
            return await self.send(buffers, refused=refused)
        finally:
            # Even when a traceback keeps it alive.
            buffers.clear()

    @enable_ki_protection
    def try_list(
        self, chunks: list[Buffer]
    ) -> tuple[int, bytes | memoryview | None] | None:
        """Send a list with one system call; see ``gather.send_list``."""
        fd = open_fd(self._socket)
        if self._lifted:
            size = measure(chunks)  # type: ignore[arg-type]
            if size < 0:
                return None
            self._put_back_before(size)
        failure = None
        try:
            answer = send_list(fd, chunks)
        except OSError as error:
            self.calls += 1
            # The frames of the failed call hold the chunks.
            failure = error.with_traceback(None)
        if failure is not None:
            # Not while it is handled, or PyPy puts its traceback back.
            raise_stream_error(failure)
        if answer is not None:
            sent, rest = answer
            self.calls += 1
            self.bytes_sent += sent
            if sent and rest is not None:
                self.partial_writes += 1
        return answer

    @enable_ki_protection
    def send_list_nowait(self, chunks: Sequence[Buffer]) -> int:
        """Send what fits of chunks that stay as they are; see ``send_nowait``.

        Raises:
          trio.WouldBlock: nothing was taken.
        """
        sent = 0
        if type(chunks) is list:
            answer = self.try_list(chunks)
            if answer is not None:
                sent, rest = answer
                if rest is None:
                    return sent
                if not self._lift_for(len(rest)):
                    if sent:
                        return sent
                    raise trio.WouldBlock
                chunks = (rest,)
        buffers = Buffers(chunks)
        try:
            sent += self.send_nowait(buffers)
            if not sent and buffers:
                raise trio.WouldBlock
        finally:
            buffers.clear()
        return sent

    def send_nowait(self, buffers: Buffers) -> int:
        """Send until the kernel's buffer is full; return the bytes sent.

        Or until they are ``NOWAIT_SIZE``, for a peer that keeps up would make
        it go on and on. The caller keeps everybody else from consuming the
        buffers.
        """
        fd = open_fd(self._socket)
        before = self.bytes_sent
        gather = Gather(buffers)
        if self._lifted:
            self._put_back_before(gather.left)
        while gather.left and self.bytes_sent - before < NOWAIT_SIZE:
            if not self._push(gather, fd) and not self._lift_for(gather.left):
                break
        return self.bytes_sent - before

    def prepare(self, size: int) -> int:
        """Return the descriptor, for somebody else to send ``size`` bytes."""
        fd = open_fd(self._socket)
        if self._lifted:
            self._put_back_before(size)
        return fd

    def account_for(self, size: int, answer: int) -> int:
        """Account for what somebody else has sent; return the bytes taken.

        Args:
          size: The bytes that were offered.
          answer: Those that were taken, or the errno, negative.
        """
        self.calls += 1
        if answer < 0:
            if answer == -errno.EAGAIN:
                return 0
            raise_stream_error(os_error(-answer))
        self.bytes_sent += answer
        if answer != size:
            self.partial_writes += 1
        return answer

    async def wait_might_not_block(self) -> None:
        """Wait until sending might not block, by Trio's measure of it."""
        self._put_back_before(0)
        await self.wait_writable()

    async def wait_writable(self) -> None:
        """Wait until the kernel would take something."""
        fd = open_fd(self._socket)
        self.waits += 1
        await trio.lowlevel.wait_writable(fd)

    # Ctrl-C between changing the value and noting it would leave a value that
    # is taken for the user's own.
    @enable_ki_protection
    def _lift_for(self, size: int) -> bool:
        """Lift TCP_NOTSENT_LOWAT for a batch larger than it.

        Returns:
          Whether it was lifted: then the kernel may take more at once.
        """
        if size <= _notsent_lowat.DEFAULT or not self.may_lift:
            return False
        before = self._lifted or _notsent_lowat.DEFAULT
        after = _notsent_lowat.lifted_for(size)
        if after <= before:
            return False
        lifted = _notsent_lowat.change(self._socket, before, after)
        if lifted:
            self._lifted = after
        return lifted

    @enable_ki_protection
    def _put_back_before(self, size: int) -> None:
        """Put TCP_NOTSENT_LOWAT back before a batch too small for it."""
        if not self._lifted or (
            size > _notsent_lowat.DEFAULT
            and self._lifted <= 2 * _notsent_lowat.lifted_for(size)
        ):
            return
        if self.may_lift:
            _notsent_lowat.change(
                self._socket, self._lifted, _notsent_lowat.DEFAULT
            )
        self._lifted = 0

    @enable_ki_protection
    def _push(self, batch: _Batch, fd: int) -> bool:
        """Make one system call; return whether it took all it was offered."""
        self.calls += 1
        failure = None
        try:
            sent, whole = batch.push(fd)
        except BlockingIOError:
            return False
        except OSError as error:
            # The frames of the failed call hold views of the chunks.
            failure = error.with_traceback(None)
        if failure is not None:
            raise_stream_error(failure)
        self.bytes_sent += sent
        if not whole:
            self.partial_writes += 1
        return whole


def sent_eof() -> trio.ClosedResourceError:
    """Return what sending behind ``send_eof`` raises, with Trio's words."""
    return trio.ClosedResourceError("can't send data after sending EOF")
