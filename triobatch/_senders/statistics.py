"""What a sender tells of what it has done, and where it reads that."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Hashable, Iterable


@dataclass(frozen=True, slots=True)
class SenderStatistics:
    """What a batch sender has done so far, and in the end when it has ended.

    Attributes:
      buffered_size: Bytes that are queued, or in the batch on its way. What
        is ``unsent`` when it has ended is neither.
      peak_size: The most that this ever was.
      waiting: How many tasks wait for room; of a ``DatagramBatchSender``, how
        many datagrams have a task that waits for their outcome, or for room.
      messages: How many messages, or datagrams, the target has taken.
      refused: How many datagrams the kernel refused.
      batches: In how many batches; one that was cut short counts if any
        message of it was taken.
      send_calls: The system calls by which the target has sent for it; None
        for a stream that is no ``BatchSocketStream``.
      longest_wait: The longest that a message took from the queue to the
        kernel, in seconds; what waits now counts with the time that it has
        waited.
    """

    buffered_size: int
    peak_size: int
    waiting: int
    messages: int
    refused: int
    batches: int
    send_calls: int | None
    longest_wait: float


class Outbox(Protocol):
    """Where others queue what the task sends; tokens are tasks that wait.

    Attributes:
      closed: Whether nothing more is let in.

    The others are what ``SenderStatistics`` says.
    """

    closed: bool
    nbytes: int
    messages: int
    refused: int
    batches: int

    @property
    def longest_wait(self) -> float: ...

    @property
    def peak(self) -> int: ...

    @property
    def waiting(self) -> int: ...

    def has_next(self) -> bool:
        """Whether there is something to send."""

    def close(self) -> Iterable[Hashable]:
        """Let nothing more in; return who waited for room, in vain."""

    def start_flush(self, token: Hashable) -> bool:
        """Return whether there is something to wait for, and note who does."""

    def withdraw_flush(self, token: Hashable) -> bool:
        """Wait no longer; return False if all has left meanwhile."""
