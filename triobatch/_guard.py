"""One task at a time. Trio's own guard, ConflictDetector, is private."""

import trio


class Guard:
    """Let one task at a time through; a second one gets BusyResourceError."""

    __slots__ = ("_busy", "_message")

    def __init__(self, message: str) -> None:
        self._busy = False
        self._message = message

    def __enter__(self) -> None:
        if self._busy:
            raise trio.BusyResourceError(self._message)
        self._busy = True

    def __exit__(self, *exc: object) -> None:
        self._busy = False
