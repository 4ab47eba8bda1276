"""The receiving half of a stream: try, wait, try again."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

import trio
from trio.lowlevel import (
    cancel_shielded_checkpoint,
    checkpoint_if_cancelled,
    enable_ki_protection,
)

from triobatch._core import calls
from triobatch._resource import open_fd, pause_after, raise_stream_error

if TYPE_CHECKING:
    from collections.abc import Callable

    from trio.socket import SocketType

_Received = TypeVar("_Received")
_Room = TypeVar("_Room")


class ReceiveHalf:
    """Receives on one socket.

    As in ``trio.SocketStream`` there is no guard: a second task gets
    ``BusyResourceError`` when both have to wait.
    """

    def __init__(self, socket: SocketType) -> None:
        self._socket = socket
        self.bytes_received = 0
        self.calls = 0
        self.waits = 0
        # Whether a stream group receives instead; and the tasks that do, until
        # they have handed out what they received.
        self.lent = False
        self._inside = 0

    def check_unused(self) -> None:
        """Raise ``BusyResourceError`` if a task is receiving."""
        if self._inside:
            raise trio.BusyResourceError(
                "another task is currently receiving on this BatchSocketStream"
            )

    async def receive(self, size: int) -> bytes:
        """Receive 1 to ``size`` bytes, or ``b""`` at the end."""
        received = await self._receive(calls.receive, size)
        self.bytes_received += len(received)
        return received

    async def receive_into(self, views: list[memoryview]) -> int:
        """Fill at most IOV_MAX views; return the bytes, 0 at the end."""
        received = await self._receive(calls.receive_into, views)
        self.bytes_received += received
        return received

    async def _receive(
        self, system_call: Callable[[int, _Room], _Received], room: _Room
    ) -> _Received:
        if self.lent:
            raise trio.BusyResourceError(
                "a stream group is receiving on this BatchSocketStream"
            )
        self._inside += 1
        try:
            return await self._pull_or_wait(system_call, room)
        finally:
            self._inside -= 1

    async def _pull_or_wait(
        self, system_call: Callable[[int, _Room], _Received], room: _Room
    ) -> _Received:
        await checkpoint_if_cancelled()
        waits = 0
        try:
            while (received := self._pull(system_call, room)) is None:
                fd = open_fd(self._socket)
                self.waits += 1
                await trio.lowlevel.wait_readable(fd)
                await pause_after(waits)
                waits += 1
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            # A loop that goes on after the error must not starve other tasks.
            await cancel_shielded_checkpoint()
            raise
        if not waits:
            await cancel_shielded_checkpoint()
        return received

    # The Python core wants Ctrl-C held off while it borrows the descriptor.
    @enable_ki_protection
    def _pull(
        self, system_call: Callable[[int, _Room], _Received], room: _Room
    ) -> _Received | None:
        """Make one system call; return None if it would block."""
        fd = open_fd(self._socket)
        self.calls += 1
        try:
            return system_call(fd, room)
        except BlockingIOError:
            return None
        except OSError as error:
            raise_stream_error(error)
