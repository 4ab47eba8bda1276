"""One task a direction, as Trio's own streams have it."""

from __future__ import annotations

import trio


class Guard:
    """Let one task at a time through; a second gets ``BusyResourceError``.

    Trio's ``ConflictDetector`` does the same, but is private to Trio.
    """

    __slots__ = ("_busy", "_message")

    def __init__(self, message: str) -> None:
        self._busy = False
        self._message = message

    def __enter__(self) -> None:
        self.check()
        self._busy = True

    def __exit__(self, *exc_info: object) -> None:
        self._busy = False

    def check(self) -> None:
        """Raise ``BusyResourceError`` if a task is inside."""
        if self._busy:
            raise trio.BusyResourceError(self._message)
