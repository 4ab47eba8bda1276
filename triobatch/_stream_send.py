"""The sending half of a stream: the loop that sends, waits and yields."""

from __future__ import annotations

from typing import TYPE_CHECKING

import trio
from trio.lowlevel import (
    cancel_shielded_checkpoint,
    checkpoint,
    checkpoint_if_cancelled,
    enable_ki_protection,
)

from triobatch import _notsent_lowat
from triobatch._buffers import Buffers
from triobatch._errors import open_fd, raise_stream_error
from triobatch._gather import Gather, InFlight
from triobatch._syscalls import copy_list, send_copy

if TYPE_CHECKING:
    from collections.abc import Iterable

    from trio.socket import SocketType
    from typing_extensions import Buffer

# A peer that reads as fast as we write never makes us wait. So that the other
# tasks get their turn, a long send yields each time it has sent this many
# bytes: 7 us in about 500 (loopback).
_YIELD_SIZE = 2**20


class SendHalf:
    """Sends ``Buffers`` on one socket. Its caller lets in one at a time."""

    def __init__(self, socket: SocketType) -> None:
        self._socket = socket
        # False where there is no TCP_NOTSENT_LOWAT, or its value is a user's.
        self.may_lift = _notsent_lowat.set_default(socket)
        self.bytes_sent = 0
        self.calls = 0
        self.partial_writes = 0
        self.waits = 0

    async def send(self, buffers: Buffers) -> int:
        """Send until nothing is left; return the bytes sent."""
        open_fd(self._socket)
        await checkpoint_if_cancelled()
        before = unyielded_from = self.bytes_sent
        yielded = False
        lifted = self._lift(buffers)
        try:
            with InFlight(buffers):
                gather = Gather(buffers)
                while buffers:
                    whole = self._push(gather)
                    if not buffers:
                        break
                    if not whole:
                        # The kernel's buffer is full, or all but full.
                        await self.wait_writable()
                    elif self.bytes_sent - unyielded_from >= _YIELD_SIZE:
                        await checkpoint()
                    else:
                        continue
                    yielded = True
                    unyielded_from = self.bytes_sent
        finally:
            self._put_back(lifted)
        if not yielded:
            await cancel_shielded_checkpoint()
        return self.bytes_sent - before

    async def send_iterable(self, chunks: Iterable[Buffer]) -> int:
        """Send chunks that nobody needs to see consumed."""
        # A list of little bytes is copied and sent without ever becoming a
        # Buffers, which saves 10 us of 50 for 1024 chunks of 64 bytes.
        size = copy_list(chunks) if type(chunks) is list else -1
        sent = 0
        if size > 0:
            open_fd(self._socket)
            # If this returns, no other task ran: the copy is still there.
            await checkpoint_if_cancelled()
            sent = self._push_copy(size)
            if sent == size:
                await cancel_shielded_checkpoint()
                return sent
        buffers = Buffers(chunks)
        buffers.consume(sent)
        try:
            return sent + await self.send(buffers)
        finally:
            # Even when a traceback keeps it alive.
            buffers.clear()

    def send_nowait(self, buffers: Buffers) -> int:
        """Send until the kernel's buffer is full; return the bytes sent."""
        open_fd(self._socket)
        before = self.bytes_sent
        lifted = self._lift(buffers)
        try:
            with InFlight(buffers):
                gather = Gather(buffers)
                while buffers and self._push(gather):
                    pass
        finally:
            self._put_back(lifted)
        return self.bytes_sent - before

    async def wait_writable(self) -> None:
        """Wait until sending might not block."""
        fd = open_fd(self._socket)
        self.waits += 1
        await trio.lowlevel.wait_writable(fd)

    @enable_ki_protection
    def _push(self, gather: Gather) -> bool:
        """Make one system call; return whether it took all it was offered."""
        try:
            sent, whole = gather.push(self._fd_to_call())
        except BlockingIOError:
            return False
        except OSError as error:
            raise_stream_error(error)
        self._count(sent, whole)
        return whole

    @enable_ki_protection
    def _push_copy(self, size: int) -> int:
        try:
            sent = send_copy(self._fd_to_call(), size)
        except BlockingIOError:
            return 0
        except OSError as error:
            raise_stream_error(error)
        self._count(sent, sent == size)
        return sent

    def _fd_to_call(self) -> int:
        fd = open_fd(self._socket)
        self.calls += 1
        return fd

    def _count(self, sent: int, whole: bool) -> None:
        self.bytes_sent += sent
        if not whole:
            self.partial_writes += 1

    def _lift(self, buffers: Buffers) -> bool:
        return (
            buffers.nbytes > _notsent_lowat.LIFT_ABOVE
            and self.may_lift
            and _notsent_lowat.lift(self._socket)
        )

    def _put_back(self, lifted: bool) -> None:
        if lifted:
            _notsent_lowat.put_back(self._socket)
