"""What a stream group counts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from triobatch._resource import Guard
    from triobatch._streams.sending import SendHalf


@dataclass(frozen=True, slots=True)
class GroupStatistics:
    """What a ``StreamGroup`` has, and has done so far.

    Attributes:
      members: Streams in the group now.
      behind: Those of them that have bytes queued, and are not read.
      queued_size: The bytes that are queued, on all members.
      batches: Batches that were received.
      largest: Streams in the largest of them.
    """

    members: int
    behind: int
    queued_size: int
    batches: int
    largest: int


class Member(Protocol):
    """What a stream knows of the group that it is in."""

    fd: int
    guard: Guard
    sending: SendHalf
    send_calls: int
    bytes_sent: int

    @property
    def free_in(self) -> object: ...

    @property
    def home(self) -> object: ...

    def fileno(self) -> int: ...

    def hand_over_counts(self) -> None: ...

    def leave(self) -> None: ...
