"""What is being done, and how long it still takes."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from rich.progress import (
    BarColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

if TYPE_CHECKING:
    from types import TracebackType

    from rich.console import Console
    from typing_extensions import Self


class Reporter:
    """A line at the bottom of a terminal, below what is printed there.

    Where ``console`` is none, a line a benchmark on standard error.

    Args:
      console: Where else is printed meanwhile.
      seconds: How long all of it is expected to take.
    """

    def __init__(self, console: Console, seconds: float) -> None:
        self._console = console
        self._benchmark = ""
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=20),
            TextColumn("{task.percentage:>3.0f} %"),
            TimeElapsedColumn(),
            TextColumn("left:"),
            TimeRemainingColumn(),
            console=self._console,
            transient=True,
            disable=not self._console.is_terminal,
        )
        self._task = self._progress.add_task("", total=seconds)

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._progress.stop()

    def __call__(self, benchmark: str, what: str, seconds: float) -> None:
        """Say what is done now; ``seconds`` of the plan are behind it."""
        self._progress.update(
            self._task, description=f"{benchmark}: {what}"[:60]
        )
        self._progress.advance(self._task, seconds)
        if not self._console.is_terminal and benchmark != self._benchmark:
            print(f"{benchmark}: {what}", file=sys.stderr, flush=True)
        self._benchmark = benchmark

    def refresh(self) -> None:
        """Draw the line now."""
        self._progress.refresh()


def spoken(seconds: float) -> str:
    """Return a duration as a person says it."""
    if seconds < 90:
        return f"{max(1, round(seconds))} s"
    return f"{round(seconds / 60)} min"
