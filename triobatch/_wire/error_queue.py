"""What the network reports of datagrams that were sent (ip(7), IP_RECVERR).

Sans-IO: parses what recvmsg(2) returns with MSG_ERRQUEUE.
"""

from __future__ import annotations

import errno
import socket
import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING

from triobatch._wire.addresses import Address, decode_address
from triobatch._wire.control import SOL_IP, SOL_IPV6, ControlMessage
from triobatch._wire.described import described, errno_text

if TYPE_CHECKING:
    from collections.abc import Sequence

IP_RECVERR = getattr(socket, "IP_RECVERR", 11)
IPV6_RECVERR = getattr(socket, "IPV6_RECVERR", 25)

# struct sock_extended_err, linux/errqueue.h; the sockaddr of the offender
# follows it.
_EXTENDED_ERROR = struct.Struct("=IBBBxII")

# SO_EE_ORIGIN_NONE, LOCAL, ICMP and ICMP6; timestamps and zero-copy notices
# come after them.
MAX_ORIGIN = 3
ICMP_ORIGINS = frozenset({2, 3})

# An ICMP error quotes at most 576 bytes in all (RFC 1812, 4.3.2.3), one for
# IPv6 1280 (RFC 4443, 2.4).
PAYLOAD_SIZE = 1280


@dataclass(frozen=True, slots=True)
class PeerError:
    """A report that a datagram did not arrive.

    Attributes:
      address: Where the datagram was sent.
      errno: Why it did not arrive: ``ECONNREFUSED`` is a closed port,
        ``EMSGSIZE`` a packet that was too large for the path.
      mtu: For ``EMSGSIZE`` the path's MTU in bytes, headers included.
      payload: What the report quotes of the datagram, from its start.
      offender: The numeric host that reports it, ``None`` if it is this
        one.
      type: The type of the ICMP message (RFC 792, RFC 4443), ``None`` if
        there was none: this host has refused the datagram.
      code: Its code.
    """

    address: Address
    errno: int
    mtu: int | None
    payload: bytes
    offender: str | None
    type: int | None = None
    code: int | None = None

    @described
    def __repr__(self) -> str:
        by = "this host" if self.offender is None else self.offender
        mtu = "" if self.mtu is None else f", MTU {self.mtu}"
        return (
            f"{errno_text(self.errno)}{mtu}, a datagram to {self.address!r}, "
            f"reported by {by}"
        )

    @property
    def is_local_refusal(self) -> bool:
        """Whether sending has failed, with EMSGSIZE, for the same reason."""
        return self.type is None and self.errno == errno.EMSGSIZE


def decode_error(
    payload: bytes, control: Sequence[ControlMessage], address: Address
) -> PeerError | None:
    """Return the report in an entry of the error queue.

    ``None`` if it is of another kind: a transmit timestamp, or the notice
    that a send without copying is complete (SO_ZEROCOPY).
    """
    for level, kind, data in control:
        if (level, kind) not in {
            (SOL_IP, IP_RECVERR),
            (SOL_IPV6, IPV6_RECVERR),
        }:
            continue
        number, origin, icmp_type, code, info, _ = _EXTENDED_ERROR.unpack_from(
            data
        )
        if origin > MAX_ORIGIN:
            return None
        offender = None
        sockaddr = bytes(data[_EXTENDED_ERROR.size :])
        # AF_UNSPEC, and the zeros of the rest, where there is no offender.
        if any(sockaddr):
            reporter = decode_address(sockaddr)
            offender = reporter[0] if isinstance(reporter, tuple) else None
        return PeerError(
            address,
            number,
            info if number == errno.EMSGSIZE else None,
            payload,
            offender,
            *((icmp_type, code) if origin in ICMP_ORIGINS else (None, None)),
        )
    return None
