"""The receiving half of a stream: try, wait, try again."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Final, TypeVar

import trio
from trio.lowlevel import (
    cancel_shielded_checkpoint,
    checkpoint_if_cancelled,
    enable_ki_protection,
)

from triobatch._resource import open_fd, pause_after, raise_stream_error

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from trio.socket import SocketType

_Received = TypeVar("_Received", bytes, int)

# Where so many bytes came last, the next are received where they stay. Up to
# there, memory that is there already and a copy cost less than new memory that
# is too large, and then cut: 0.8 of it with 1 to 16 KiB, 1.0 with 32, 1.2 with
# 64 (recv(2) over loopback included).
LARGE: Final = 2**14


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
        # Whether much came last.
        self.large = False

    def check_unused(self) -> None:
        """Raise ``BusyResourceError`` if a task is receiving."""
        if self._inside:
            raise trio.BusyResourceError(
                "another task is currently receiving on this BatchSocketStream"
            )

    # Call it with Ctrl-C held off.
    @contextmanager
    def kept(self) -> Iterator[None]:
        """Keep stream groups out, for a block that receives in its own way.

        Raises:
          trio.BusyResourceError: one receives already.
        """
        self._check_not_lent()
        self._inside += 1
        try:
            yield
        finally:
            self._inside -= 1

    def _check_not_lent(self) -> None:
        if self.lent:
            raise trio.BusyResourceError(
                "a stream group is receiving on this BatchSocketStream"
            )

    # The Python core wants Ctrl-C held off while it borrows the descriptor.
    @enable_ki_protection
    async def take(
        self, system_call: Callable[..., _Received | None], *room: object
    ) -> _Received:
        """Make a system call, and wait until it does not return None.

        Args:
          system_call: ``calls.receive`` or ``calls.receive_into``.
          room: What it takes beside the descriptor.
        """
        if self.lent:
            self._check_not_lent()
        self._inside += 1
        waits = 0
        try:
            await checkpoint_if_cancelled()
            while True:
                fd = open_fd(self._socket)
                self.calls += 1
                try:
                    received = system_call(fd, *room)
                except OSError as error:
                    raise_stream_error(error)
                if received is not None:
                    break
                self.waits += 1
                await trio.lowlevel.wait_readable(fd)
                await pause_after(waits)
                waits += 1
            count = len(received) if isinstance(received, bytes) else received
            self.bytes_received += count
            self.large = count > LARGE
            if not waits:
                await cancel_shielded_checkpoint()
            return received
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            # A loop that goes on after the error must not starve other tasks.
            await cancel_shielded_checkpoint()
            raise
        finally:
            self._inside -= 1
