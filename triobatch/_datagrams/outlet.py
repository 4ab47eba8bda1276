"""What all sending calls of one datagram socket share."""

import errno
from dataclasses import dataclass, field

from triobatch._core.counts import MORE_THAN_OFFERED
from triobatch._datagrams.segmentation import Segmentation

# The socket, and not one datagram, is of no more use.
FATAL = frozenset(
    {
        errno.EBADF,
        errno.ENOTSOCK,
        errno.EFAULT,
        errno.ENOSYS,
        MORE_THAN_OFFERED,
    }
)


@dataclass(slots=True)
class SendCounters:
    """What a socket has sent; see ``DatagramStatistics``."""

    datagrams: int = 0
    calls: int = 0
    runs: int = 0
    reports: int = 0


@dataclass(slots=True)
class Outlet:
    """What all batches of one socket share.

    Attributes:
      segmentation: What the kernel may be asked to cut up.
      internet: Whether it is an IPv4 or IPv6 socket.
    """

    segmentation: Segmentation
    internet: bool
    counters: SendCounters = field(default_factory=SendCounters)

    def is_fatal(self, error: OSError) -> bool:
        """Tell whether the socket has failed, and not one datagram."""
        return error.errno in FATAL or (
            error.errno == errno.EPIPE and self.internet
        )
