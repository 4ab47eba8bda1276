"""The processes that are measured, and how the harness talks with them.

Each contestant is a process of its own. It is started once for a family of
cases and is blocked reading its standard input while others are measured. It
prints one JSON object a line, and reads one line of text for each::

    driver   {"ready": true}             and perhaps "port", or other facts
    harness  measure CASE COUNT NAME=VALUE ...
    driver   {"seconds": 0.031, "cpu": 0.029, "count": 500, "bytes": 32768000}

``COUNT`` operations are asked for. ``seconds`` is the time they took until
the receiver had acknowledged the last of them, ``cpu`` what this process used
of the processors meanwhile, user and system. ``count`` is how many operations
were done, ``bytes`` or ``datagrams`` what the receiver says it got. More facts
may follow. ``{"error": "..."}`` ends a contestant's part in the run.

The case's name comes again in each line, so that a driver knows when to start
afresh: connections, and what congestion control learnt, are not carried from
one case to the next. ``verify=1`` is added once for each case and contestant,
before anything is timed, for the receiver to look at the contents too.

Numbers and names hold no blanks, so that a C program can split the line.

Sinks and servers are not asked for anything: they print the first line, with
their port. All end by being killed, drivers also at the end of their input.
"""

from __future__ import annotations

import ctypes
import json
import os
import signal
import subprocess
import threading
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

PR_SET_PDEATHSIG = 1

# Far longer than any measurement: a contestant that hangs must not hang all.
PATIENCE = 60.0

Answer = dict[str, Any]


class ContestantError(Exception):
    """A contestant could not do what it was asked to."""


class Driver:
    """A process that is measured, or that measures another.

    Args:
      name: For messages.
      command: What to run.
      processors: Where it may run.
    """

    def __init__(
        self, name: str, command: Sequence[str], processors: Collection[int]
    ) -> None:
        def set_up() -> None:
            # Or a server would outlive a benchmark that was killed.
            ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
            os.sched_setaffinity(0, processors)

        self.name = name
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            preexec_fn=set_up,  # noqa: PLW1509 (no thread runs)
        )
        self.pid = self._process.pid

    def read(self) -> Answer:
        """Return the next object that it prints.

        Raises:
          ContestantError: it ended, hung, or reports an error.
        """
        assert self._process.stdout is not None
        hung = threading.Event()

        def give_up() -> None:
            hung.set()
            self._process.kill()

        timer = threading.Timer(PATIENCE, give_up)
        timer.start()
        try:
            line = self._process.stdout.readline()
        finally:
            timer.cancel()
        if not line:
            status = self._process.wait()
            if hung.is_set():
                raise ContestantError(f"{self.name} hung for {PATIENCE:g} s")
            raise ContestantError(f"{self.name} ended with status {status}")
        try:
            answer: Answer = json.loads(line)
        except ValueError:
            raise ContestantError(f"{self.name} said {line!r}") from None
        if "error" in answer:
            raise ContestantError(f"{self.name}: {answer['error']}")
        return answer

    def measure(self, case: str, count: int, **options: object) -> Answer:
        """Have ``count`` operations done, and return what it says of them."""
        assert self._process.stdin is not None
        words = ["measure", case, str(count)]
        words += [f"{name}={value}" for name, value in options.items()]
        try:
            self._process.stdin.write(" ".join(words) + "\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            raise ContestantError(f"{self.name} ended") from None
        return self.read()

    def end(self) -> None:
        """End the process, which has nothing to lose."""
        self._process.kill()
        self._process.communicate()

    def cpu_seconds(self) -> float:
        """Return the processor time of all its threads that are alive."""
        total = 0
        for task in Path(f"/proc/{self.pid}/task").iterdir():
            with suppress(FileNotFoundError):
                total += int((task / "schedstat").read_text().split()[0])
        return total / 1e9
