"""When what one task brings piece by piece leaves: together, and soon.

A reply that is written in 64 pieces, each with an await, was 48 system calls:
a checkpoint after each piece (4.5 us) let the sending task run, and with
nothing else to do it sent that piece alone. So a piece that finds the sending
task at work, or about to be, is queued without a pass through the scheduler:
the next pass, which its caller's next wait brings, sends all of them.

Only a piece that finds it asleep yields, as a lone message always did, and so
leaves at once. The sending task ends what it does for it with a checkpoint,
and is not asleep yet when the task that brought the first piece brings the
second. And a piece yields if none has for a while, so that a task that
computes between its pieces holds up the others for no longer than that.

A cork is for those who know better when a message is whole.
"""

from __future__ import annotations

from contextlib import contextmanager
from time import perf_counter
from typing import TYPE_CHECKING, Final

from trio.lowlevel import enable_ki_protection

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from triobatch._senders.statistics import Outbox

# Seconds between two passes through the scheduler that queueing makes: some
# thousand messages, where a pass costs as much as ten.
YIELD_AFTER: Final = 0.001

# Bytes that no cork holds back: as many as a batch for TLS has.
CORK_SIZE: Final = 2**16


class Gathering:
    """Whether queueing yields, and whether what is queued may leave.

    Args:
      outbox: Where it is queued.

    Attributes:
      corks: How many corks hold it back.
      pushed: Whether what is there is to leave in spite of them.
      yield_at: When a task that queues something is to yield, at the latest.
    """

    __slots__ = ("_outbox", "corks", "pushed", "yield_at")

    def __init__(self, outbox: Outbox) -> None:
        self._outbox = outbox
        self.corks = 0
        self.pushed = False
        self.yield_at = 0.0

    def may_leave(self) -> bool:
        """Whether no cork holds back what is queued."""
        return (
            not self.corks
            or self.pushed
            or self._outbox.nbytes >= CORK_SIZE
            or self._outbox.closed
        )

    def taken(self) -> None:
        """Note that a batch has been made of what was queued."""
        if not self._outbox.has_next():
            self.pushed = False

    def yields(self) -> bool:
        """Tell whether a task that has queued something is to yield."""
        now = perf_counter()
        if now < self.yield_at:
            return False
        self.yield_at = now + YIELD_AFTER
        return True

    # Ctrl-C must not leave a cork behind.
    @contextmanager
    @enable_ki_protection
    def corked(self, pulled: Callable[[], None]) -> Iterator[None]:
        """Hold back what is queued from now on.

        Args:
          pulled: Called when no cork is left.
        """
        if not self.corks:
            self.pushed = self._outbox.has_next()
        self.corks += 1
        try:
            yield
        finally:
            self.corks -= 1
            if not self.corks:
                pulled()
