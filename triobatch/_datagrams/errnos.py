"""What an errno is about, how often a call is repeated, and after what pause.

Sending and receiving meet errors of four kinds: of the socket, of the one
datagram in hand, of segmentation, and of a datagram sent earlier. The last is
one that the network has reported (ICMP): it is kept on the socket and raised
by the next call, whatever that does, and each call takes one report off. So
after such an error the same call is made again:

* ECONNREFUSED and ENOPROTOOPT mean nothing else on an internet socket, and
  are not believed. Where there are many, it is time for a pause; where they
  do not end, sending does, and receiving waits on.
* ECONNRESET is the one report that there is on a Unix socket, and is treated
  in the same way.
* The others are also what the kernel says of a bad route or a filter. They
  are believed if the same one comes twice in a row: two reports of one kind
  do not follow one another as quickly as two calls do.

Sans-IO: errnos come in.
"""

from __future__ import annotations

import enum
import errno
from functools import cache
from typing import Protocol

from triobatch._core.counts import MORE_THAN_OFFERED

# There is no room now: what BlockingIOError is.
FULL = frozenset({errno.EAGAIN, errno.EWOULDBLOCK})

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
# An internet socket has been shut down for sending; of a Unix socket EPIPE
# says that the peer was, for receiving. Windows has the other word for it.
FATAL_ON_INTERNET = FATAL | {errno.EPIPE, errno.ESHUTDOWN}

# The interface's queue, or the kernel's memory, is full for the moment.
CONGESTION = frozenset({errno.ENOBUFS, errno.ENOMEM})
# One datagram is tried so many times more before it is refused.
MAX_CONGESTED = 5
# The pause before the first of these tries, in seconds. Each is twice the one
# before, so that five take 31 ms.
FIRST_PAUSE = 0.001

# What a kernel or a card says that does not segment for this route; see gso.
REFUSALS = frozenset({errno.EIO, errno.EINVAL, errno.EMSGSIZE})

# icmp_err_convert in net/ipv4/icmp.c, icmpv6_err_convert in net/ipv6/icmp.c;
# the two RESETs are what Windows makes of them (recvfrom there), and nothing
# that an internet datagram socket meets elsewhere.
ONLY_REPORTED = frozenset(
    {
        errno.ECONNREFUSED,
        errno.ENOPROTOOPT,
        errno.ECONNRESET,
        errno.ENETRESET,
    }
)
REPORTED = ONLY_REPORTED | {
    errno.EHOSTUNREACH,
    errno.ENETUNREACH,
    errno.EHOSTDOWN,
    errno.EMSGSIZE,
    errno.EACCES,
    errno.EPROTO,
    errno.EOPNOTSUPP,
    getattr(errno, "ENONET", errno.EHOSTDOWN),
}
# ICMP for IPv4 has no report that becomes this one, which is what the host
# says of a broadcast address without SO_BROADCAST (ip(7)).
REPORTED_BY_IPV4 = REPORTED - {errno.EACCES}
# A Unix peer that was connected to the socket, and with datagrams unread has
# connected to another (unix_dgram_disconnected in net/unix/af_unix.c).
REPORTED_BY_UNIX = frozenset({errno.ECONNRESET})
# So many reports in a row are a flood, or no reports at all.
MAX_REPORTS = 8
# So many floods, with a pause behind each, are no reports: where 99 of 100
# calls meet one, a datagram that could go meets so many once in a billion.
MAX_FLOODS = 256


# As many errnos as there are one-byte numbers: Linux has 133.
_ERRNOS = 256


@cache
def tries_of(
    *, internet: bool, ipv4: bool, asks: bool, pending: bool
) -> bytes:
    """Return what the core goes past: an item for each errno.

    Args:
      internet: Whether it is an IPv4 or IPv6 socket.
      ipv4: Whether it is an IPv4 socket.
      asks: Whether the error queue is asked about EMSGSIZE.
      pending: Whether what may be a report has been met already.

    Returns:
      How often running an errno must meet a datagram to refuse it: once, or
      twice where it may be a report; 0 where it is not for the core to say.
    """
    reported = reported_on(internet=internet, ipv4=ipv4)
    fatal = FATAL_ON_INTERNET if internet else FATAL
    judged = FULL | CONGESTION | fatal
    judged |= reported if pending else reported & ONLY_REPORTED
    if asks:
        judged |= {errno.EMSGSIZE}
    return bytes(
        0 if not number or number in judged else 1 + (number in reported)
        for number in range(_ERRNOS)
    )


def reported_on(*, internet: bool, ipv4: bool) -> frozenset[int]:
    """Return the errnos that may be about an earlier datagram."""
    if not internet:
        return REPORTED_BY_UNIX
    return REPORTED_BY_IPV4 if ipv4 else REPORTED


class Verdict(enum.Enum):
    """What an error was about."""

    # An earlier datagram: make the call again.
    REPORT = enum.auto()
    # The same, but there were many: wait a while first.
    FLOOD = enum.auto()
    # The call itself.
    OWN = enum.auto()


class Counters(Protocol):
    """Where reports are counted."""

    reports: int


class Reports:
    """The errors of one call and its repetitions.

    Attributes:
      pending: Whether the next errno may be the second of its kind.
    """

    __slots__ = ("_counters", "_last", "_row", "pending")

    def __init__(self, counters: Counters) -> None:
        self._counters = counters
        self._last = self._row = 0
        self.pending: bool = False

    def judge(self, number: int) -> Verdict:
        """Say what the errno of the last try was about."""
        if number not in REPORTED:
            self.reset()
            return Verdict.OWN
        if number == self._last and number not in ONLY_REPORTED:
            # Then the first of the two was no report either.
            self._counters.reports -= 1
            self.reset()
            return Verdict.OWN
        self._counters.reports += 1
        self._last = number
        self._row += 1
        self.pending = True
        if self._row < MAX_REPORTS:
            return Verdict.REPORT
        self.reset()
        return Verdict.FLOOD

    def reset(self) -> None:
        """Begin anew: the call has come to something else, or has paused."""
        self._last = self._row = 0
        self.pending = False
