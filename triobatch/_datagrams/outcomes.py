"""What sending a batch can come to, and who is told."""

from __future__ import annotations

import enum
import errno
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from triobatch._datagrams import errnos, gso
from triobatch._datagrams.errors import DatagramErrorGroup
from triobatch._datagrams.statistics import SendCounters

if TYPE_CHECKING:
    from collections.abc import Callable

    from triobatch._datagrams.errors import DatagramError
    from triobatch._datagrams.kernel import Kernel


class Outcome(enum.Enum):
    """What one system call has come to."""

    DONE = enum.auto()
    MORE = enum.auto()
    # Wait until the socket is writable, or the dispatch's `peer` has room.
    FULL = enum.auto()
    # Wait a while.
    CONGESTED = enum.auto()


class AnyDispatch(Protocol):
    """What the loop that sends needs of a batch on its way."""

    @property
    def peer(self) -> bytes:
        """After ``FULL``: where the datagram goes that was not taken."""

    @property
    def sent(self) -> int:
        """Datagrams that the kernel took."""

    @property
    def sent_bytes(self) -> int:
        """Bytes of them."""

    @property
    def refusals(self) -> list[int]:
        """The errnos of those that were refused."""

    @property
    def ignored(self) -> int:
        """Datagrams that were refused and dropped, and are no errors."""

    def step(self, fd: int) -> Outcome:
        """Make one system call, and account for what it has taken."""

    def hold(self, peer: bytes) -> bool:
        """Leave out all datagrams to one destination, between two steps.

        Returns:
          Whether that can be done; if not, all wait for that destination.
        """

    def close(self) -> tuple[list[DatagramError], int]:
        """Let go of the payloads; return the errors, and what is unsent.

        A traceback keeps this object, and so would an error that it keeps.
        """


class Observer(Protocol):
    """Learns the outcome of each datagram of a batch as soon as there is one.

    It may then withdraw datagrams, and let destinations wait. A tag is what
    it knows a datagram by.
    """

    def sent(self, tags: list[int]) -> None:
        """The kernel has taken these."""

    def refuse(self, tag: int, number: int) -> None:
        """The kernel has refused one, with an errno."""

    def hold(self, tag: int, peer: bytes) -> None:
        """One has left the batch, because its destination has no room."""


@dataclass(slots=True)
class Outlet:
    """What all batches of one socket share.

    Attributes:
      segmentation: What the kernel may be asked to cut up.
      internet: Whether it is an IPv4 or IPv6 socket.
      kernel: What makes its calls.
      ipv4: Whether it is an IPv4 socket.
      counters: What is counted of them.
      refused_here: Says whether it was this host, and no report of another,
        that has just answered EMSGSIZE; None if that cannot be told.
      plain: Whether many were refused of late, so that a batch begins
        without runs; see ``pace``.
    """

    segmentation: gso.Segmentation
    internet: bool
    kernel: Kernel
    ipv4: bool = False
    counters: SendCounters = field(default_factory=SendCounters)
    refused_here: Callable[[], bool] | None = None
    plain: bool = False
    _tries: dict[tuple[bool, bool], bytes] = field(default_factory=dict)

    def is_fatal(self, number: int) -> bool:
        """Whether the socket has failed, and not one datagram."""
        return number in (
            errnos.FATAL_ON_INTERNET if self.internet else errnos.FATAL
        )

    def may_be_report(self, number: int) -> bool:
        """Whether an errno may be about an earlier datagram.

        If so, the second time running it is not (see ``errnos``).
        """
        if self.must_ask_queue(number):
            assert self.refused_here is not None
            return not self.refused_here()
        return number in errnos.reported_on(
            internet=self.internet, ipv4=self.ipv4
        )

    def tries(self, *, pending: bool) -> bytes:
        """Return what the core goes past; see ``errnos.tries_of``."""
        asks = self.refused_here is not None
        tries = self._tries.get((asks, pending))
        if tries is None:
            tries = self._tries[asks, pending] = errnos.tries_of(
                internet=self.internet,
                ipv4=self.ipv4,
                asks=asks,
                pending=pending,
            )
        return tries

    def must_ask_queue(self, number: int) -> bool:
        """Whether each datagram with this errno has an entry to be looked at.

        Trying it twice would make two entries in the error queue.
        """
        return self.refused_here is not None and number == errno.EMSGSIZE


def result_of(dispatch: AnyDispatch) -> int:
    """Return how many datagrams went, or raise what was refused."""
    sent = dispatch.sent
    if not dispatch.refusals:
        return sent
    # The exception's traceback has this frame, so nothing here may lead back
    # to the exception: a cycle would keep the payloads exported.
    errors, left = dispatch.close()
    raise DatagramErrorGroup(errors, sent, left)


def raise_only_error(dispatch: AnyDispatch) -> None:
    """Raise what was refused of a batch of one, without a group."""
    if dispatch.refusals:
        errors, _ = dispatch.close()
        raise errors.pop().as_lone()
