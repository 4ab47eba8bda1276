"""How much the next call is given, and whether any of it is cut up.

A call of the core goes past what is refused, but for a run: it says little
about its datagrams, so each of them is to go by itself. So do the others of
the next call, until one in which few are refused: a plan and a call for each
refused run would cost more than the segmentation of the rest gains. Nor does
the socket's next batch begin with runs then: who answers whoever asks is told
to send to the same bad addresses again and again.

Sans-IO.
"""

from __future__ import annotations

# Datagrams planned at once: enough for four full runs. More would be cut off
# by the limits of a call and be planned again.
PLANNED = 256
# As many where each has to be looked at, and is planned anew; and four times
# as many after each whole success.
WITH_CARE = 16
# One in so many refused, and going unsegmented costs no more than a plan for
# each refusal.
DENSE = 32


class Pace:
    """The pace of one batch.

    Args:
      plain: What the socket's last batch came to.

    Attributes:
      size: Datagrams that the next call is given at most.
      plain: Whether none of them is cut up.
    """

    __slots__ = ("plain", "size")

    def __init__(self, *, plain: bool) -> None:
        self.size = PLANNED
        self.plain = plain

    def note_judged(self) -> None:
        """Note a refusal behind which each must be looked at alone."""
        self.size = WITH_CARE

    def note_refused_run(self) -> None:
        """Note that a run was refused, and its datagrams go unsegmented."""
        self.plain = True
        self.size = PLANNED

    def note_tried(self, refused: int, count: int, *, whole: bool) -> None:
        """Note that some of so many were refused; perhaps none was stopped."""
        self.plain = refused * DENSE >= count
        if whole:
            self.size = min(4 * self.size, PLANNED)
