"""What this machine, this kernel and this installation can do."""

from __future__ import annotations

import platform
from dataclasses import dataclass, fields

from triobatch._core.choice import CHUNK_EXTENSION, CORE, CORE_REASON
from triobatch._core.chunks import IOV_MAX
from triobatch._core.probes import gso_segments, has_gro


@dataclass(frozen=True, slots=True)
class Capabilities:
    """What ``capabilities()`` found.

    Attributes:
      core: The core that runs: ``"c"`` or ``"python"``.
      core_reason: Why that one, in words.
      chunk_extension: Whether lists of chunks are measured and copied in C.
      kernel: The kernel's name and release.
      iov_max: How many buffers one system call takes.
      sendmmsg: Whether one system call takes many datagrams.
      gso_segments: How many datagrams the kernel cuts one message into at the
        most (UDP_SEGMENT); 1 if it does not.
      gro: Whether the kernel puts datagrams together on receipt (UDP_GRO).
    """

    core: str
    core_reason: str
    chunk_extension: bool
    kernel: str
    iov_max: int
    sendmmsg: bool
    gso_segments: int
    gro: bool

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
        chunk_extension=CORE == "c" and CHUNK_EXTENSION,
        kernel=f"{platform.system()} {platform.release()}",
        iov_max=IOV_MAX,
        sendmmsg=CORE == "c",
        gso_segments=gso_segments(),
        gro=has_gro(),
    )
