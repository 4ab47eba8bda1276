"""System calls of an operation, counted by strace(1): no margin.

Those that get memory or take turns among threads are no part of it.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from guards.operations import Operation
    from guards.ways import Way

WARM_UP = 5
REPETITIONS = 10
IGNORED = frozenset(
    {"brk", "futex", "madvise", "mmap", "mprotect", "mremap", "munmap"}
)
# What was called how often, each time.
Counts = list[Counter[str]]
# access(2) with such a name does nothing, and shows in the trace.
MARK = "/guard/"


async def do_between_marks(number: int, way: Way) -> None:
    """Do it some times, and say in the trace when."""
    for repetition in range(-WARM_UP, REPETITIONS):
        way.prepare()
        if repetition >= 0:
            os.access(f"{MARK}{number}", os.F_OK)
        await way.ours()
        if repetition >= 0:
            os.access(f"{MARK}end", os.F_OK)
        await way.clean_up()


def count_system_calls(*command: str | Path) -> dict[int, Counts]:
    """Run a program of Python's under strace.

    Returns:
      For each number that ``do_between_marks`` was given, the calls of each
      time that it was done.
    """
    with tempfile.TemporaryDirectory() as directory:
        trace = Path(directory) / "trace"
        subprocess.run(
            ["strace", "-o", trace, sys.executable, *command], check=True
        )
        return _count(trace.read_text())


def fewest(counts: Counts) -> int:
    """Return how many calls it takes at best."""
    return min(sum(calls.values()) for calls in counts)


def check_system_calls(
    operation: Operation, counts: Counts, progress: Callable[[str], None]
) -> list[str]:
    """Return what is wrong with the system calls that it took."""
    if len(counts) != REPETITIONS:
        return [f"{operation.name} was not traced"]
    calls = _most_frequent(counts)
    progress(f"{operation.name}: {words(calls)}")
    if calls != operation.calls:
        return [
            (
                f"{operation.name} takes the system calls {words(calls)}, "
                f"and not {words(operation.calls)}"
            )
        ]
    return []


def untraceable() -> str | None:
    """Return why nothing can be traced here, or None."""
    if shutil.which("strace") is None:
        return "strace is not installed"
    allowed = subprocess.run(
        ["strace", "true"], capture_output=True, check=False
    )
    return None if allowed.returncode == 0 else "strace may not trace here"


def _count(trace: str) -> dict[int, Counts]:
    """Return the calls of each time that each operation was done."""
    counted: dict[int, Counts] = {}
    current: Counter[str] | None = None
    for line in trace.splitlines():
        if (name := re.match(r"\w+", line)) is None:
            continue
        if mark := re.search(rf'"{MARK}(\w+)"', line):
            current = None
            if mark[1] != "end":
                current = Counter()
                counted.setdefault(int(mark[1]), []).append(current)
        elif current is not None and name[0] not in IGNORED:
            current[name[0]] += 1
    return counted


def _most_frequent(found: Counts) -> dict[str, int]:
    frozen = Counter(frozenset(calls.items()) for calls in found)
    return dict(frozen.most_common(1)[0][0])


def words(calls: dict[str, int]) -> str:
    """Return them as they are printed."""
    return ", ".join(
        f"{count} {name}" for name, count in sorted(calls.items())
    )
