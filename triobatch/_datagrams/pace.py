"""How much the next call is given, and whether it goes past refusals.

A sendmmsg(2) that stops at a refused message does not say why; another one
does, which has that message first, and then the rest of the batch is planned
anew. Where every second datagram is refused that cost seven to twenty times a
sendto(2) that fails (measured). So after a refusal those behind it go in one
call of the core, past all that fail for the same reason, and as long as that
is worth it.

Sans-IO.
"""

from __future__ import annotations

# Datagrams planned at once: enough for four full runs. More would be cut off
# by the limits of a call and be planned again.
PLANNED = 256
# As many after a refusal that stands alone, and where each has to be looked
# at; and four times as many after each whole success.
WITH_CARE = 16
# One in so many refused, and going past them costs no more than a sendmmsg
# with segmentation, and a plan of its own for each refusal.
DENSE = 32


class Pace:
    """The pace of one batch.

    Attributes:
      size: Datagrams that the next call is given at most.
      refusal: The errno that the next call goes past, message by message; 0
        where it offers all at once.
    """

    __slots__ = ("_gap", "refusal", "size")

    def __init__(self) -> None:
        self.size = PLANNED
        self.refusal = 0
        # Datagrams taken since the last refusal, or since the first.
        self._gap = 0

    def note_refusal(self, number: int) -> None:
        """Note that the first datagram was refused.

        Args:
          number: The errno; 0 if the next one's must be looked at alone.
        """
        self.refusal = number
        dense = number and self._gap <= 2 * DENSE
        self.size = PLANNED if dense else WITH_CARE
        self._gap = 0

    def note_refused_run(self, number: int, count: int) -> None:
        """Note that a run of so many was refused, and goes unsegmented."""
        self.refusal, self.size = number, count

    def note_taken(self, count: int, *, whole: bool) -> None:
        """Note that datagrams were taken, perhaps all that were offered."""
        self._gap += count
        if whole:
            self.size = min(4 * self.size, PLANNED)

    def note_tried(self, refused: bytes) -> None:
        """Note what became of messages that were sent one by one."""
        if refused.count(1) * DENSE < len(refused) or not refused:
            self.refusal = 0
        self._gap = len(refused) - 1 - refused.rfind(1)
        self.size = min(4 * self.size, PLANNED)
