"""What all batches of one datagram socket share."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from triobatch._datagrams import errnos
from triobatch._datagrams.statistics import SendCounters

if TYPE_CHECKING:
    from triobatch._datagrams.gso import Segmentation
    from triobatch._datagrams.kernel import Kernel


@dataclass(slots=True)
class Outlet:
    """What all batches of one socket share.

    Attributes:
      segmentation: What the kernel may be asked to cut up.
      internet: Whether it is an IPv4 or IPv6 socket.
      kernel: What makes its calls.
      counters: What is counted of them.
    """

    segmentation: Segmentation
    internet: bool
    kernel: Kernel
    counters: SendCounters = field(default_factory=SendCounters)

    def is_fatal(self, error: OSError) -> bool:
        """Whether the socket has failed, and not one datagram."""
        return error.errno in (
            errnos.FATAL_ON_INTERNET if self.internet else errnos.FATAL
        )
