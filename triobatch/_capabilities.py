"""What this machine, this kernel and this installation can do."""

from __future__ import annotations

import platform
from dataclasses import dataclass, fields

from triobatch import _syscalls
from triobatch._core_choice import CORE, CORE_REASON


@dataclass(frozen=True, slots=True)
class Capabilities:
    """What ``capabilities()`` found.

    Attributes:
      core: The core that runs: ``"c"`` or ``"python"``.
      core_reason: Why that one, in words.
      chunk_extension: Whether lists of chunks are measured and copied in C.
      kernel: The kernel's name and release.
      iov_max: How many buffers one system call takes.
    """

    core: str
    core_reason: str
    chunk_extension: bool
    kernel: str
    iov_max: int

    def __str__(self) -> str:
        width = max(len(field.name) for field in fields(self))
        return "\n".join(
            f"{field.name:{width}}  {getattr(self, field.name)}"
            for field in fields(self)
        )


def capabilities() -> Capabilities:
    """Return what this machine, kernel and installation can do.

    ``python -m triobatch`` prints it.
    """
    return Capabilities(
        core=CORE,
        core_reason=CORE_REASON,
        chunk_extension=_syscalls.HAS_CHUNK_EXTENSION,
        kernel=f"{platform.system()} {platform.release()}",
        iov_max=_syscalls.IOV_MAX,
    )
