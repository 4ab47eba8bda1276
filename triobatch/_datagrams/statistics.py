"""What a datagram socket tells about itself."""

from __future__ import annotations

import socket
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass

# include/uapi/asm-generic/socket.h; the ninth number counts the drops.
SO_MEMINFO = getattr(socket, "SO_MEMINFO", 55)


@dataclass(frozen=True, slots=True)
class DatagramStatistics:
    """Counts since a ``DatagramSocket`` was made.

    Attributes:
      datagrams_sent: Datagrams that the kernel took.
      send_calls: System calls that were made for it.
      gso_runs: Messages of two or more datagrams among them, which the
        kernel cut up.
      gso_refusals: How often it refused to, by the errno's name; the
        datagrams of such a run were sent again one by one.
      refused: Datagrams that the kernel refused, whether that was raised or
        ignored.
      datagrams_received: Datagrams that the kernel handed over. With them
        count those that nobody has taken yet: a call brings what is there,
        and ``serve_datagrams`` reads ahead. Closing the socket drops these,
        which is how ``serve_datagrams`` ends.
      receive_calls: System calls that were made for it, those that found
        nothing included.
      truncated: Datagrams among them whose end was lost.
      reports: Errors that the network reported of datagrams sent earlier,
        and that a call met; ``error_queue`` tells which datagrams.
      kernel_drops: What the kernel dropped because the socket's receive
        buffer was full, where datagrams that it had put together (UDP_GRO)
        count as one; ``None`` where it does not say. Kept when the socket is
        closed.
    """

    datagrams_sent: int
    send_calls: int
    gso_runs: int
    gso_refusals: Mapping[str, int]
    refused: int
    datagrams_received: int
    receive_calls: int
    truncated: int
    reports: int
    kernel_drops: int | None


@dataclass(slots=True)
class SendCounters:
    """What a socket has sent so far."""

    datagrams: int = 0
    calls: int = 0
    runs: int = 0
    refused: int = 0
    reports: int = 0


@dataclass(slots=True)
class ReceiveCounters:
    """What a socket has received so far."""

    datagrams: int = 0
    calls: int = 0
    reports: int = 0


def kernel_drops(getsockopt: Callable[[int, int, int], bytes]) -> int | None:
    """Return how many datagrams the kernel had no room for.

    Args:
      getsockopt: The socket's method.

    Returns:
      ``None`` where the kernel does not say (SO_MEMINFO: Linux 4.12).
    """
    if sys.platform != "linux":
        return None
    try:
        counters = getsockopt(socket.SOL_SOCKET, SO_MEMINFO, 36)
    except OSError:
        return None
    return int.from_bytes(counters[32:36], sys.byteorder)
