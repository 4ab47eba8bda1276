"""What a simulated network does to datagrams, and what it counts."""

from __future__ import annotations

import math
from dataclasses import dataclass

from triobatch._wire.arguments import (
    as_integer,
    as_number,
    as_seconds,
    at_least,
)


@dataclass(frozen=True, slots=True)
class NetworkConditions:
    """What happens to datagrams on their way, in one direction.

    Attributes:
      delay: Seconds that each takes.
      jitter: It takes up to so many seconds more, each datagram on its own:
        those that leave within that time of one another may pass each other.
      loss: The share that is lost on the way, 0 to 1. A datagram in fragments
        is lost with the first of them. Reports of the network are lost alike.
      duplication: The share that arrives twice, 0 to 1.
      rate: Bytes a second, IP and UDP headers included, that leave for the
        other host; None for no limit. What waits fills the sending socket's
        buffer, and then sending waits.
      mtu: Bytes that a packet has at most, headers included, 68 (RFC 791) or
        more. The first datagram that is larger, but not larger than 1500, is
        lost, and reported with EMSGSIZE; from then on, for ten minutes, they
        go in fragments. So do from the start those larger than 1500.
      gso_refusal: The errno with which a run of datagrams that the kernel is
        to cut up is refused, such as ``errno.EIO``; 0 for none.
      congestion: The share of messages that is refused with ENOBUFS, as by a
        full queue of the interface, 0 to 1.
      reports: Whether it is reported that a port is closed, a host is not
        there, or a datagram was too large.

    Raises:
      ValueError: a number is out of range.
    """

    delay: float = 0.0
    jitter: float = 0.0
    loss: float = 0.0
    duplication: float = 0.0
    rate: float | None = None
    mtu: int = 1500
    gso_refusal: int = 0
    congestion: float = 0.0
    reports: bool = True

    def __post_init__(self) -> None:
        for name in ("delay", "jitter"):
            value = as_seconds(getattr(self, name), name)
            if value == math.inf:
                raise ValueError(f"{name} must be finite, not {value}")
            self._set(name, value)
        for name in ("loss", "duplication", "congestion"):
            value = as_number(getattr(self, name), name)
            if not 0 <= value <= 1:
                raise ValueError(f"{name} must be in 0..1, not {value}")
            self._set(name, value)
        if self.rate is not None:
            rate = as_number(self.rate, "rate")
            if not rate > 0:
                raise ValueError(f"rate must be more than 0, not {rate}")
            self._set("rate", rate)
        self._set("gso_refusal", at_least(0, self.gso_refusal, "gso_refusal"))
        mtu = as_integer(self.mtu, "mtu")
        if not 68 <= mtu <= 65535:
            raise ValueError(f"mtu must be in 68..65535, not {mtu}")
        self._set("mtu", mtu)

    def _set(self, name: str, value: float) -> None:
        # What was checked, and not a Decimal that cannot be added to a time.
        object.__setattr__(self, name, value)


@dataclass(slots=True)
class NetworkStatistics:
    """What has become of all datagrams; they add up.

    ``sent + duplicated`` is the sum of all that follows them, but ``reports``.

    Attributes:
      sent: Datagrams that the simulated kernels took.
      duplicated: Copies that the network has made.
      lost: Those that were lost on the way.
      too_large: Those that did not fit the MTU, and were reported or not.
      unreachable: Those to a port that nobody had, or to no host.
      dropped: Those for which a receive buffer had no room.
      delivered: Those that came into a receive buffer.
      in_flight: Those that are on the way now.
      reports: Reports (ICMP) that came to a socket of the sending host.
    """

    sent: int = 0
    duplicated: int = 0
    lost: int = 0
    too_large: int = 0
    unreachable: int = 0
    dropped: int = 0
    delivered: int = 0
    in_flight: int = 0
    reports: int = 0
