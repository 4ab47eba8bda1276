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

from guards.public_calls import PublicCall

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from guards.operations import Operation

WARM_UP = 5
REPETITIONS = 10
IGNORED = frozenset(
    {"brk", "futex", "madvise", "mmap", "mprotect", "mremap", "munmap"}
)
# access(2) with such a name does nothing, and shows in the trace.
MARK = "/guard/"


async def do_between_marks(
    operations: Sequence[Operation | PublicCall],
) -> None:
    """Do each some times, and say in the trace when."""
    for number, operation in enumerate(operations):
        for repetition in range(-WARM_UP, REPETITIONS):
            operation.before_ours()
            if repetition >= 0:
                os.access(f"{MARK}{number}", os.F_OK)
            await operation.ours()
            if repetition >= 0:
                os.access(f"{MARK}end", os.F_OK)
            operation.after_ours()


def check_system_calls(
    operations: Sequence[Operation | PublicCall],
    program: str,
    progress: Callable[[str], None],
) -> list[str]:
    """Run ``program --traced`` under strace; return what is wrong."""
    if why := _untraceable():
        progress(f"system calls are not counted: {why}")
        return []
    with tempfile.TemporaryDirectory() as directory:
        trace = Path(directory) / "trace"
        subprocess.run(
            ["strace", "-o", trace, sys.executable, program, "--traced"],
            check=True,
        )
        counted = _count(trace.read_text())
    wrong = []
    for number, operation in enumerate(operations):
        found = counted.get(number, [])
        if len(found) != REPETITIONS:
            wrong.append(f"{operation.name} was not traced")
            continue
        calls = _most_frequent(found)
        progress(f"{operation.name}: {_words(calls)}")
        if isinstance(operation, PublicCall):
            # Which ones is the business of the operations beside it.
            if sum(calls.values()) > operation.system_calls:
                wrong.append(
                    f"{operation.name} takes the system calls "
                    f"{_words(calls)}, more than {operation.system_calls}"
                )
        elif calls != operation.calls:
            wrong.append(
                f"{operation.name} takes the system calls {_words(calls)}, "
                f"and not {_words(operation.calls)}"
            )
    return wrong


def _untraceable() -> str | None:
    if shutil.which("strace") is None:
        return "strace is not installed"
    allowed = subprocess.run(
        ["strace", "true"], capture_output=True, check=False
    )
    return None if allowed.returncode == 0 else "strace may not trace here"


def _count(trace: str) -> dict[int, list[Counter[str]]]:
    """Return the calls of each time that each operation was done."""
    counted: dict[int, list[Counter[str]]] = {}
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


def _most_frequent(found: list[Counter[str]]) -> dict[str, int]:
    frozen = Counter(frozenset(calls.items()) for calls in found)
    return dict(frozen.most_common(1)[0][0])


def _words(calls: dict[str, int]) -> str:
    return ", ".join(
        f"{count} {name}" for name, count in sorted(calls.items())
    )
