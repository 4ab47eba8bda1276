"""What this kernel can do for datagrams, found out by trying."""

from __future__ import annotations

import functools
import socket
import sys

from triobatch._wire.control import SOL_UDP, UDP_GRO, UDP_SEGMENT

# UDP_MAX_SEGMENTS: 128 from Linux 6.9 on. It was 64, and the kernels before
# 6.9 counted the headers as payload, so that 64 full segments were one too
# many for them.
_SEGMENT_LIMITS = (128, 64, 63)


def _udp_socket() -> socket.socket:
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.setblocking(False)
    return sock


@functools.cache
def gso_segments() -> int:
    """Return how many datagrams one message may be cut into.

    Tries it with datagrams of one byte that a loopback socket sends to
    itself. The answer is kept for the life of the process.

    Returns:
      128, 64 or 63; 1 without UDP_SEGMENT (before Linux 4.18, and
      elsewhere); 63 where loopback is down and it cannot be tried.
    """
    if sys.platform != "linux":
        return 1
    with _udp_socket() as sock:
        try:
            # As an option it would hold for every send: set, and unset.
            sock.setsockopt(SOL_UDP, UDP_SEGMENT, 1200)
            sock.setsockopt(SOL_UDP, UDP_SEGMENT, 0)
        except OSError:
            return 1
        segment_size = (1).to_bytes(2, sys.byteorder)
        control = [(SOL_UDP, UDP_SEGMENT, segment_size)]
        try:
            sock.bind(("127.0.0.1", 0))
            sock.connect(sock.getsockname())
        except OSError:
            return _SEGMENT_LIMITS[-1]
        for segments in _SEGMENT_LIMITS:
            try:
                sock.sendmsg([bytes(segments)], control)
            except OSError:
                continue
            return segments
        return 1


@functools.cache
def has_gro() -> bool:
    """Tell whether the kernel hands over trains (UDP_GRO, Linux 5.0)."""
    if sys.platform != "linux":
        return False
    with _udp_socket() as sock:
        try:
            sock.setsockopt(SOL_UDP, UDP_GRO, 1)
        except OSError:
            return False
    return True
