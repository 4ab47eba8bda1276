"""What a simulated network says of datagrams that did not arrive (ICMP)."""

from __future__ import annotations

import errno
from typing import Final

from triobatch._wire.addresses import AF_INET6, decode_address, family_of
from triobatch._wire.error_queue import PeerError

# Type and code (RFC 792; RFC 4443 for IPv6).
_V4 = {
    errno.ECONNREFUSED: (3, 3),
    errno.EHOSTUNREACH: (3, 1),
    errno.EMSGSIZE: (3, 4),
}
_V6 = {
    errno.ECONNREFUSED: (1, 4),
    errno.EHOSTUNREACH: (1, 3),
    errno.EMSGSIZE: (2, 0),
}
# What a connected socket hears of without an error queue (`fatal` of
# icmp_err_convert in net/ipv4/icmp.c).
HARD: Final = frozenset({errno.ECONNREFUSED, errno.EMSGSIZE})
# A report is 576 bytes at most (RFC 1812, 4.3.2.3), or 1280 (RFC 4443, 2.4):
# two IP headers, eight bytes each of ICMP and UDP, and payload.
_QUOTED_V4: Final = 576 - 20 - 8 - 28
_QUOTED_V6: Final = 1280 - 40 - 8 - 48


def report_of(
    number: int, source: bytes, target: bytes, payload: bytes, mtu: int
) -> PeerError:
    """Return the report of a datagram.

    Args:
      number: The errno that it becomes.
      source: The sockaddr that the datagram came from.
      target: The one that it went to.
      payload: The datagram.
      mtu: What would have fitted the path.
    """
    v6 = family_of(target) == AF_INET6
    # That a host is not there, the one nearest to it says: here, the host that
    # has sent.
    reporter = source if number == errno.EHOSTUNREACH else target
    address = decode_address(reporter)
    assert isinstance(address, tuple)
    return PeerError(
        decode_address(target),
        number,
        mtu if number == errno.EMSGSIZE else None,
        payload[: _QUOTED_V6 if v6 else _QUOTED_V4],
        address[0],
        *(_V6 if v6 else _V4)[number],
    )
