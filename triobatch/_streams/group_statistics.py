"""What a stream group counts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol


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
    is_free: bool

    @property
    def home(self) -> object: ...

    def leave(self) -> None: ...
