"""How much of the processors went to programs that are no part of the run."""

from __future__ import annotations

import os
import time
from pathlib import Path

TICKS = os.sysconf("SC_CLK_TCK")
# Beyond this part of the processors, figures are worth little.
TOLERABLE = 0.05


def _busy_seconds() -> float:
    """Return what all processors have done so far; see proc_stat(5)."""
    first = Path("/proc/stat").read_text().partition("\n")[0]
    user, nice, system, _, _, irq, softirq, steal = map(
        int, first.split()[1:9]
    )
    return (user + nice + system + irq + softirq + steal) / TICKS


def _own_seconds() -> float:
    times = os.times()
    return (
        times.user + times.system + times.children_user + times.children_system
    )


class Bystanders:
    """Watches from when it is made, while every child started since ends."""

    def __init__(self) -> None:
        self._start = time.monotonic()
        self._busy = _busy_seconds()
        self._own = _own_seconds()

    def seconds(self) -> float:
        """Return the processor time that others have had."""
        return (_busy_seconds() - self._busy) - (_own_seconds() - self._own)

    def share(self) -> float:
        """Return the part of all processors that others have had."""
        elapsed = time.monotonic() - self._start
        share = self.seconds() / elapsed / (os.cpu_count() or 1)
        # Ticks are counted whole, so a busy machine may seem to have more.
        return min(1.0, max(0.0, share))
