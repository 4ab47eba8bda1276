"""Memberships of multicast groups, as setsockopt(2) takes them."""

from __future__ import annotations

import errno
import os
import socket
import struct
import sys
from ipaddress import IPv4Address, IPv6Address, ip_address

from triobatch._wire.arguments import as_integer

# struct ip_mreqn of ip(7), whose address of the interface gives way to its
# index; and struct ipv6_mreq of ipv6(7).
_IP_MREQN = struct.Struct("=4s4xi")
# macOS and Windows have struct ip_mreq alone, and would take no notice of that
# index. To them an interface's address in 0.0.0.0/8 is an index of its own
# (ip_multicast_if() in bsd/netinet/in_mcast.c of macOS; IP_MREQ of Winsock).
_IP_MREQ = struct.Struct("!4sI")
HAS_MREQN = sys.platform not in {"darwin", "win32"}
_MAX_INDEX = 2**24 - 1
_IPV6_MREQ = struct.Struct("=16sI")


def membership(
    group: str, interface: str | int | None, *, joining: bool
) -> tuple[int, int, bytes]:
    """Return the option that joins or leaves a group; see ``join_group``.

    Raises:
      TypeError, ValueError: an argument is impossible.
      OSError: there is no interface of that name.
    """
    address = _as_group(group)
    index = _as_index(interface)
    if isinstance(address, IPv4Address):
        if not HAS_MREQN and index > _MAX_INDEX:
            raise OSError(errno.ENODEV, os.strerror(errno.ENODEV), interface)
        request = _IP_MREQN if HAS_MREQN else _IP_MREQ
        return (
            socket.IPPROTO_IP,
            socket.IP_ADD_MEMBERSHIP if joining else socket.IP_DROP_MEMBERSHIP,
            request.pack(address.packed, index),
        )
    return (
        socket.IPPROTO_IPV6,
        socket.IPV6_JOIN_GROUP if joining else socket.IPV6_LEAVE_GROUP,
        _IPV6_MREQ.pack(address.packed, index),
    )


def _as_group(group: str) -> IPv4Address | IPv6Address:
    if not isinstance(group, str):
        # ip_address() takes numbers and packed addresses, too.
        raise TypeError(f"group must be a str, not {type(group).__name__}")
    try:
        address = ip_address(group)
    except ValueError:
        raise ValueError(
            f"group must be a numeric address, not {group!r}"
        ) from None
    if not address.is_multicast or "%" in group:
        raise ValueError(
            "group must be the address of a multicast group, without a "
            f"scope, not {group!r}"
        )
    return address


def _as_index(interface: str | int | None) -> int:
    if interface is None:
        return 0
    if isinstance(interface, str):
        try:
            return socket.if_nametoindex(interface)
        except (OSError, ValueError):
            # Python's own error has no errno; a NUL is a ValueError.
            raise OSError(
                errno.ENODEV, os.strerror(errno.ENODEV), interface
            ) from None
    index = as_integer(interface, "interface")
    # What fits both structs.
    if not 0 <= index < 2**31:
        raise ValueError(
            f"interface must be between 0 and {2**31 - 1}, not {index}"
        )
    return index
