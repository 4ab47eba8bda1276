"""What became of a broadcast, stream by stream."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Generic, Literal, TypeAlias

import trio

from triobatch._resource import without_frames
from triobatch._wire.described import described

if TYPE_CHECKING:
    from typing_extensions import TypeVar

    S = TypeVar("S", bound=trio.abc.SendStream, default=trio.abc.SendStream)
else:
    from typing import TypeVar

    # That of the standard library has no default before Python 3.13.
    S = TypeVar("S", bound=trio.abc.SendStream)

Status: TypeAlias = Literal[
    "sent",
    "partial",
    "unsent",
    "unknown",
    "queued",
    "full",
    "busy",
    "broken",
    "closed",
]


@dataclass(frozen=True, slots=True)
class Delivery(Generic[S]):
    """What became of a broadcast on one stream.

    Attributes:
      stream: The stream, of the type that was given.
      status: ``"sent"``, all of it was; ``"partial"``, a part of it was, and
        the stream is in the middle of it; ``"unsent"``, nothing was.
        ``"broken"`` and ``"closed"``, the stream is. ``"busy"``: another task
        was sending on it, and nothing was sent. ``"unknown"``: cancelled
        within a stream that cannot tell, as ``trio.SSLStream``, which is no
        longer of any use. Of a shared stream: ``"queued"``, all of it will be
        sent, and ``sent`` counts it; ``"full"``, nothing was queued.
      sent: How many bytes were sent, as far as that is known.
      error: Why a stream is ``"broken"``, ``"closed"`` or ``"busy"``. It has
        no traceback, whose frames would keep the payload with it.
    """

    stream: S
    status: Status
    sent: int
    error: Exception | None


class BroadcastResult(Generic[S]):
    """What has become of a broadcast so far, stream by stream.

    One that is passed to ``broadcast`` is filled in as it goes, so it tells
    what was done also when the call was cancelled. It iterates over a
    ``Delivery`` for each stream, in the order in which they were given.
    """

    def __init__(self) -> None:
        self._streams: list[S] = []
        self._size = 0
        self._sent: list[int] = []
        # The few that did not get it at once, by their place in the list.
        self._errors: dict[int, Exception] = {}
        self._unknown: set[int] = set()
        self._queued: set[int] = set()
        self._full: set[int] = set()

    def __len__(self) -> int:
        return len(self._streams)

    def __iter__(self) -> Iterator[Delivery[S]]:
        return map(self._delivery, range(len(self._streams)))

    @described
    def __repr__(self) -> str:
        whole = len(self) - len(self.missed)
        return f"{whole} of {len(self)} got all"

    @property
    def sent(self) -> list[Delivery[S]]:
        """Those that got all of it, or will, in the order of the streams."""
        return [
            self._delivery(index)
            for index, sent in enumerate(self._sent)
            if self._got_all(index, sent)
        ]

    @property
    def missed(self) -> list[Delivery[S]]:
        """Those that did not get all of it, in the order of the streams."""
        return [
            self._delivery(index)
            for index, sent in enumerate(self._sent)
            if not self._got_all(index, sent)
        ]

    def _got_all(self, index: int, sent: int) -> bool:
        return (
            sent == self._size
            and index not in self._errors
            and index not in self._full
        )

    def _start(self, streams: list[S], size: int) -> None:
        self._streams = streams
        self._size = size
        self._sent = [0] * len(streams)
        self._errors = {}
        self._unknown = set()
        self._queued = set()
        self._full = set()

    def _fail(self, index: int, error: Exception) -> None:
        self._errors[index] = without_frames(error)

    def _delivery(self, index: int) -> Delivery[S]:
        sent, error = self._sent[index], self._errors.get(index)
        status: Status
        if isinstance(error, trio.BusyResourceError):
            status = "busy"
        elif isinstance(error, trio.ClosedResourceError):
            status = "closed"
        elif error is not None:
            status = "broken"
        elif index in self._queued:
            status = "queued"
        elif index in self._full:
            status = "full"
        elif sent == self._size:
            status = "sent"
        elif index in self._unknown:
            status = "unknown"
        else:
            status = "partial" if sent else "unsent"
        return Delivery(self._streams[index], status, sent, error)
