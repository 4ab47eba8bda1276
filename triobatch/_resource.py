"""One task at a time: a direction, as Trio's streams have it, and a queue."""

from __future__ import annotations

from typing import TYPE_CHECKING

import trio
from trio.lowlevel import enable_ki_protection

if TYPE_CHECKING:
    from triobatch._queues.buffers import Buffers
    from triobatch._queues.datagrams import Datagrams


class Guard:
    """Let one task at a time through; a second gets ``BusyResourceError``.

    Trio's ``ConflictDetector`` does the same, but is private to Trio.
    """

    __slots__ = ("_busy", "_message")

    def __init__(self, message: str) -> None:
        self._busy = False
        self._message = message

    # Ctrl-C between taking it and letting go would leave it taken for ever.
    @enable_ki_protection
    def __enter__(self) -> None:
        if self._busy:
            raise trio.BusyResourceError(self._message)
        self._busy = True

    @enable_ki_protection
    def __exit__(self, *exc_info: object) -> None:
        self._busy = False

    def check(self) -> None:
        """Raise ``BusyResourceError`` if a task is inside."""
        if self._busy:
            raise trio.BusyResourceError(self._message)


class InFlight:
    """Keep everybody else from consuming some buffers, for a ``with`` block.

    Raises:
      trio.BusyResourceError: somebody is sending them already.
    """

    __slots__ = ("_buffers",)

    def __init__(self, buffers: Buffers) -> None:
        self._buffers = buffers

    # Ctrl-C between taking it and letting go would leave it taken for ever.
    @enable_ki_protection
    def __enter__(self) -> None:
        self.check(self._buffers)
        self._buffers._in_flight = True

    @enable_ki_protection
    def __exit__(self, *exc_info: object) -> None:
        self._buffers._in_flight = False

    @staticmethod
    def check(buffers: Buffers) -> None:
        """Raise ``BusyResourceError`` if somebody is sending them."""
        if buffers._in_flight:
            raise trio.BusyResourceError(
                "another task is currently sending these buffers"
            )


class Lent:
    """Keep everybody else from consuming a queue, for a ``with`` block.

    Its lists are the block's: what was sent is deleted from both of them.

    Raises:
      trio.BusyResourceError: somebody is sending it already.
    """

    __slots__ = ("_queue",)

    def __init__(self, queue: Datagrams) -> None:
        self._queue = queue

    # As above.
    @enable_ki_protection
    def __enter__(self) -> None:
        if self._queue._lent:
            raise trio.BusyResourceError(
                "another task is sending these datagrams"
            )
        self._queue._lent = True

    @enable_ki_protection
    def __exit__(self, *exc_info: object) -> None:
        self._queue._lent = False
