"""What an IP header says beside the payload, as control messages (cmsg(3)).

Sans-IO: packs and parses the bytes, and names the socket options that make
the kernel supply them. Names come from Python's socket module where it has
them; the numbers of the rest are Linux's (include/uapi/linux/in.h, in6.h and
asm-generic/socket.h). Other systems have other numbers and structs: there
nothing is asked for, and to ask for something is refused.
"""

from __future__ import annotations

import errno
import ipaddress
import socket
import struct
import sys
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from triobatch._wire.addresses import AF_INET6, pack_host
from triobatch._wire.arguments import as_integer
from triobatch._wire.control import (
    SOL_IP,
    SOL_IPV6,
    SOL_SOCKET,
    unpack_control,
)

if TYPE_CHECKING:
    from triobatch._wire.addresses import Address
    from triobatch._wire.control import ControlMessage

IP_TOS = socket.IP_TOS
IP_TTL = socket.IP_TTL
IP_PKTINFO = getattr(socket, "IP_PKTINFO", 8)
IP_RECVTTL = getattr(socket, "IP_RECVTTL", 12)
IP_RECVTOS = getattr(socket, "IP_RECVTOS", 13)
IPV6_RECVPKTINFO = getattr(socket, "IPV6_RECVPKTINFO", 49)
IPV6_PKTINFO = getattr(socket, "IPV6_PKTINFO", 50)
IPV6_RECVHOPLIMIT = getattr(socket, "IPV6_RECVHOPLIMIT", 51)
IPV6_HOPLIMIT = getattr(socket, "IPV6_HOPLIMIT", 52)
IPV6_RECVTCLASS = getattr(socket, "IPV6_RECVTCLASS", 66)
IPV6_TCLASS = getattr(socket, "IPV6_TCLASS", 67)
SO_TIMESTAMPNS = getattr(socket, "SO_TIMESTAMPNS", 35)

_INT = struct.Struct("=i")
_PKTINFO = struct.Struct("=i4s4s")
_PKTINFO6 = struct.Struct("=16si")
_TIMESPEC = struct.Struct("ll")
# struct cmsghdr and struct timespec: the timestamp as a control message.
STAMP = struct.Struct("@Niill")
STAMP_HEADER = struct.pack("@Nii", STAMP.size, SOL_SOCKET, SO_TIMESTAMPNS)
_MAPPED = "::ffff:"
_LOOPBACK_BROADCAST = ipaddress.IPv4Address("127.255.255.255")


@dataclass(frozen=True, slots=True)
class Metadata:
    """What the IP header of a datagram says, or shall say.

    A field that is ``None`` was not reported, or is left to the socket.

    Attributes:
      tos: The traffic class, 0 to 255 (RFC 2474); its low two bits are the
        ECN codepoint (RFC 3168).
      ttl: The time to live or hop limit, 1 to 255.
      local_address: The numeric address that a datagram came to, or that it
        shall come from.
      interface_index: The interface that it came in by, or shall leave by.
    """

    tos: int | None = None
    ttl: int | None = None
    local_address: str | None = None
    interface_index: int | None = None

    @property
    def ecn(self) -> int | None:
        """The ECN codepoint (0 none, 1 and 2 capable, 3 congestion)."""
        return None if self.tos is None else self.tos & 3

    def for_reply(self) -> Metadata:
        """Return what makes an answer leave from the address asked.

        A link-local address goes with its interface, without which it is
        none. An IPv6 multicast is answered from an address of the interface
        that it came in by, which the kernel chooses; for one of IPv4, and
        for a broadcast, ``local_address`` is an address of that interface.
        Where it is not known that the address is this host's own, the kernel
        chooses among all: for an IPv4 datagram that came before its metadata
        were asked for, which may be a broadcast.
        """
        if self.local_address is None:
            return Metadata()
        host = ipaddress.ip_address(self.local_address)
        index = self.interface_index
        if isinstance(host, ipaddress.IPv6Address):
            if host.ipv4_mapped is None:
                if host.is_multicast:
                    return Metadata(interface_index=index)
                if not host.is_link_local:
                    index = None
                elif index is None:
                    return Metadata()
                return _source(self.local_address, index, host)
            host = host.ipv4_mapped
        # All of 127.0.0.0/8 is this host, but for its broadcast (RFC 1122).
        own = host.is_loopback and host != _LOOPBACK_BROADCAST
        if index is None and not own:
            return Metadata()
        return _source(self.local_address, None, host)

    def only(self, fields: frozenset[str] | None) -> Metadata:
        """Return this without what was not asked for.

        Args:
          fields: Names of fields, or None for all. Those that one control
            message brings are asked for together.
        """
        if type(fields) is not frozenset:
            fields = check_fields(fields)
        if fields is None:
            return self
        info = bool(fields & {"local_address", "interface_index"})
        return Metadata(
            self.tos if fields & {"tos", "ecn"} else None,
            self.ttl if "ttl" in fields else None,
            self.local_address if info else None,
            self.interface_index if info else None,
        )


def _source(
    address: str,
    index: int | None,
    host: ipaddress.IPv4Address | ipaddress.IPv6Address,
) -> Metadata:
    if host.is_multicast:
        return Metadata()
    return Metadata(local_address=address, interface_index=index)


class Message(NamedTuple):
    """A received datagram with what the kernel says of it.

    A tuple, as its six items are put together four times as fast so.

    Attributes:
      payload: What fitted the slot.
      address: The sender, as from ``recvfrom``.
      metadata: What its IP header says.
      timestamp: When the kernel received it, in nanoseconds since the epoch
        (``SO_TIMESTAMPNS``), or ``None``.
      truncated: Whether bytes were cut off the end.
      size: Bytes before that; one more than fitted where the system does
        not tell (macOS, Windows).
    """

    payload: bytes
    address: Address
    metadata: Metadata
    timestamp: int | None
    truncated: bool
    size: int


# What brings a field: the options for IPv4, which hold for mapped peers of an
# IPv6 socket too, and for IPv6.
_PACKET_INFO = (SOL_IP, IP_PKTINFO), (SOL_IPV6, IPV6_RECVPKTINFO)
_TRAFFIC_CLASS = (SOL_IP, IP_RECVTOS), (SOL_IPV6, IPV6_RECVTCLASS)
_HOP_LIMIT = (SOL_IP, IP_RECVTTL), (SOL_IPV6, IPV6_RECVHOPLIMIT)
FIELDS = {
    "ecn": _TRAFFIC_CLASS,
    "interface_index": _PACKET_INFO,
    "local_address": _PACKET_INFO,
    "tos": _TRAFFIC_CLASS,
    "ttl": _HOP_LIMIT,
}


def check_fields(fields: object) -> frozenset[str] | None:
    """Return a set of ``Metadata``'s names, or None for all there is.

    Raises:
      TypeError: it is no set.
      ValueError: one of them is no such name.
    """
    if fields is None:
        return None
    if not isinstance(fields, AbstractSet):
        raise TypeError(
            f"fields must be a set of names, not {type(fields).__name__}"
        )
    for name in fields:
        if name not in FIELDS:
            raise ValueError(
                f"fields must be of {', '.join(FIELDS)}, not {name!r}"
            )
    return frozenset(fields)


def metadata_options(
    family: int, fields: frozenset[str] | None = None
) -> list[tuple[int, int]]:
    """Return the ``(level, option)`` pairs that turn the metadata on.

    Args:
      family: The socket's.
      fields: Names of ``Metadata``, or None for all of them and the
        timestamp.

    Returns:
      The pairs; none where the system is not Linux.
    """
    if sys.platform != "linux":
        return []
    wanted = FIELDS if fields is None else fields
    pairs = dict.fromkeys(map(FIELDS.__getitem__, sorted(wanted)))
    options = [ipv4 for ipv4, _ in pairs]
    if family == AF_INET6:
        options += [ipv6 for _, ipv6 in pairs]
    if fields is None:
        options.append((SOL_SOCKET, SO_TIMESTAMPNS))
    return options


def encode_metadata(
    metadata: Metadata, family: int
) -> tuple[ControlMessage, ...]:
    """Return the control messages that ask for ``metadata``.

    Raises:
      TypeError: a number is no int.
      ValueError: the local address is not numeric or of another family, or
        a number is out of range.
      OSError: the system is not Linux, and there is something to ask for.
    """
    messages: list[ControlMessage] = []
    for name, value, lowest, highest in (
        ("tos", metadata.tos, 0, 255),
        ("ttl", metadata.ttl, 1, 255),
        ("interface_index", metadata.interface_index, 0, 2**31 - 1),
    ):
        if value is None:
            continue
        number = as_integer(value, name)
        if not lowest <= number <= highest:
            raise ValueError(
                f"{name} must be in {lowest}..{highest}, not {value}"
            )
    if metadata.tos is not None:
        tos = _INT.pack(metadata.tos)
        messages.append((SOL_IP, IP_TOS, tos))
        if family == AF_INET6:
            messages.append((SOL_IPV6, IPV6_TCLASS, tos))
    if metadata.ttl is not None:
        ttl = _INT.pack(metadata.ttl)
        messages.append((SOL_IP, IP_TTL, ttl))
        if family == AF_INET6:
            messages.append((SOL_IPV6, IPV6_HOPLIMIT, ttl))
    if (metadata.local_address, metadata.interface_index) != (None, None):
        messages.append(_packet_info(metadata, family))
    if messages and sys.platform != "linux":
        raise OSError(errno.ENOPROTOOPT, "metadata can be sent on Linux only")
    return tuple(messages)


def _packet_info(metadata: Metadata, family: int) -> ControlMessage:
    index = metadata.interface_index or 0
    host = metadata.local_address
    if host is not None and not isinstance(host, str):
        raise TypeError(
            f"local_address must be a str, not {type(host).__name__}"
        )
    version = socket.AF_INET6 if family == AF_INET6 else socket.AF_INET
    try:
        if version == socket.AF_INET6:
            source = pack_host(version, host or "::")
            return SOL_IPV6, IPV6_PKTINFO, _PKTINFO6.pack(source, index)
        source = pack_host(version, host or "0.0.0.0")  # noqa: S104
        return SOL_IP, IP_PKTINFO, _PKTINFO.pack(index, source, bytes(4))
    except (OSError, ValueError):
        raise ValueError(
            "local_address must be a numeric host of the socket's family, "
            f"not {host!r}"
        ) from None


def decode_metadata(control: bytes) -> tuple[Metadata, int | None]:
    """Return the metadata and the timestamp that a control buffer holds."""
    tos = ttl = host = index = ipv4 = ipv4_index = timestamp = None
    for level, kind, data in unpack_control(control):
        if (level, kind) == (SOL_SOCKET, SO_TIMESTAMPNS):
            seconds, nanoseconds = _TIMESPEC.unpack(data)
            timestamp = seconds * 10**9 + nanoseconds
        elif (level, kind) in {(SOL_IP, IP_TOS), (SOL_IPV6, IPV6_TCLASS)}:
            tos = (
                int.from_bytes(data[:1], "little")
                if len(data) == 1
                else (_INT.unpack(data)[0])
            )
        elif (level, kind) in {(SOL_IP, IP_TTL), (SOL_IPV6, IPV6_HOPLIMIT)}:
            (ttl,) = _INT.unpack(data)
        elif (level, kind) == (SOL_IPV6, IPV6_PKTINFO):
            packed, index = _PKTINFO6.unpack(data)
            host = socket.inet_ntop(socket.AF_INET6, packed)
        elif (level, kind) == (SOL_IP, IP_PKTINFO):
            # A dual-stack socket gets one of IPv6 as well, which has the
            # destination only. The address to answer from is another for a
            # broadcast or multicast; it is unset, as the interface is, on a
            # datagram that was queued before the option was on.
            ipv4_index, local, destination = _PKTINFO.unpack(data)
            packed = local if any(local) else destination
            ipv4 = socket.inet_ntop(socket.AF_INET, packed)
    if ipv4 is not None and (host is None or host.startswith(_MAPPED)):
        host = ipv4 if host is None else _MAPPED + ipv4
        index = ipv4_index
    return Metadata(tos, ttl, host, index or None), timestamp
