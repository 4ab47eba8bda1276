"""Socket addresses, between Python's form and the sockaddr of ``ip(7)``.

An address is what ``recvfrom`` of the standard library returns: ``(host,
port)``, ``(host, port, flowinfo, scope_id)``, a path (``str``), an abstract
name (``bytes`` that start with a zero byte), or ``None`` where a Unix peer
has no name; for a datagram to send, ``None`` is the connected peer.

The cores get sockaddrs. That makes equal what the kernel takes for equal
(``("::1", 9)`` and ``("::1", 9, 0, 0)``), so that "to one destination" is a
comparison of bytes, and it lets each distinct peer be decoded once: a dict
look-up costs 30 ns, an ``inet_ntop`` and a new tuple 600 ns.

The family is read from the address itself and not from the socket: an IPv6
address on an IPv4 socket is refused by the kernel, as one datagram's error.
Hosts are numeric, because a look-up waits.
"""

from __future__ import annotations

import errno
import operator
import os
import socket
import struct
import sys
from typing import Any, TypeAlias

Address: TypeAlias = (
    tuple[str, int] | tuple[str, int, int, int] | str | bytes | None
)

# The layouts of ip(7), ipv6(7) and unix(7). Ports and flow information are
# in network order, the family and the scope in the machine's own.
_FAMILY = struct.Struct("=H")
_PORT = struct.Struct(">H")
_IPV6 = struct.Struct(">HI16s")
_SCOPE = struct.Struct("=I")

MAX_PORT = 0xFFFF
# What IPv6 has for the flow label (RFC 8200), and the standard library takes.
MAX_FLOWINFO = 0xFFFFF
MAX_SCOPE_ID = 0xFFFFFFFF

# The numbers of an address, and how large each may be.
_NUMBERS = (
    ("the port of an address", MAX_PORT),
    ("flowinfo", MAX_FLOWINFO),
    ("scope_id", MAX_SCOPE_ID),
)

SOCKADDR_IN_SIZE = 16
SOCKADDR_IN6_SIZE = 28
SOCKADDR_UN_SIZE = 110
# A path of this size has no zero byte at its end, and the kernel takes it.
SUN_PATH_SIZE = SOCKADDR_UN_SIZE - _FAMILY.size

AF_INET = int(socket.AF_INET)
AF_INET6 = int(socket.AF_INET6)
# Windows has Unix sockets, but its Python does not name them.
AF_UNIX = int(getattr(socket, "AF_UNIX", 1))

V4_MAPPED = bytes(10) + b"\xff\xff"


def check_port(port: object, name: str = "port") -> int:
    """Return ``port`` as an int.

    Args:
      port: 0 to 65535.
      name: What the caller calls it, for the errors.

    Raises:
      TypeError: it is no integer; True and False are none.
      ValueError: it is out of range.
    """
    return _check_number(port, name, MAX_PORT)


def check_scope(address: tuple[object, ...], name: str) -> None:
    """Raise if what an IPv6 address has behind its port is impossible."""
    numbers = zip(address[2:], _NUMBERS[1:], strict=False)
    for number, (what, most) in numbers:
        _check_number(number, f"the {what} of {name}", most)


def _check_number(
    number: object, name: str, most: int, address: object = None
) -> int:
    of = "" if address is None else f": {address!r}"
    if isinstance(number, bool) or not hasattr(number, "__index__"):
        raise TypeError(
            f"{name} must be an int, "
            f"not {type(number).__name__} {number!r}{of}"
        )
    value = operator.index(number)
    if not 0 <= value <= most:
        raise ValueError(
            f"{name} must be between 0 and {most}, not {value}{of}"
        )
    return value


def encode_address(address: Address) -> bytes:
    """Return the sockaddr of ``address``, ``b""`` for ``None``.

    Raises:
      TypeError: ``address`` is not an address at all.
      ValueError: the host is not numeric, a number is out of range, or a
        path does not fit ``sun_path`` (108 bytes).
    """
    if address is None:
        return b""
    if isinstance(address, str | bytes):
        return _encode_unix(address)
    if not isinstance(address, tuple) or len(address) not in {2, 3, 4}:
        raise TypeError(
            "address must be a (host, port) tuple, a path or None, "
            f"not {type(address).__name__}: {address!r}"
        )
    host, *numbers = address
    if not isinstance(host, str):
        raise TypeError(
            "the host of an address must be a str, "
            f"not {type(host).__name__}: {address!r}"
        )
    numbers = [
        _check_number(number, name, most, address)
        for number, (name, most) in zip(numbers, _NUMBERS, strict=False)
    ]
    port, flowinfo, scope_id = (*numbers, 0, 0)[:3]
    if ":" in host:
        return (
            _FAMILY.pack(AF_INET6)
            + _IPV6.pack(port, flowinfo, _pton(socket.AF_INET6, address))
            + _SCOPE.pack(scope_id)
        )
    if len(address) != 2:
        raise ValueError(
            f"an IPv4 address must be (host, port), not {address!r}"
        )
    return (
        _FAMILY.pack(AF_INET)
        + _PORT.pack(port)
        + _pton(socket.AF_INET, address)
        + bytes(8)
    )


def pack_host(family: int, host: str) -> bytes:
    """Return ``inet_pton(3)`` of a host.

    Raises:
      OSError: it is none.
      ValueError: there is a zero byte in it, or what cannot be encoded.
    """
    if "\0" in host:
        # PyPy's inet_pton would read up to it.
        raise ValueError(f"host must have no zero byte, not {host!r}")
    return socket.inet_pton(family, host)


def _pton(family: int, address: tuple[Any, ...]) -> bytes:
    try:
        return pack_host(family, address[0])
    except (OSError, ValueError):
        raise ValueError(
            "the host of an address must be numeric: "
            f"{address!r}; resolve names first, with trio.socket.getaddrinfo"
        ) from None


def _encode_unix(address: str | bytes) -> bytes:
    # Of the bytes themselves, whatever len() a subclass has.
    try:
        path = bytes(memoryview(os.fsencode(address)))
    except UnicodeEncodeError:
        raise ValueError(
            f"a path must be one that can be encoded, not {address!r}"
        ) from None
    if not 0 < len(path) <= SUN_PATH_SIZE:
        raise ValueError(
            f"a path must have 1..{SUN_PATH_SIZE} bytes (sun_path),"
            f" not {len(path)}: {address!r}"
        )
    if path[0] and 0 in path:
        raise ValueError(
            f"a path must not have a zero byte inside, as {address!r} has"
        )
    return _FAMILY.pack(AF_UNIX) + path


def decode_address(sockaddr: bytes) -> Address:
    """Return the address that ``sockaddr`` holds.

    Bytes after an IPv4 or IPv6 sockaddr are ignored.

    Raises:
      ValueError: the sockaddr is cut short, or of another family.
    """
    # An unnamed Unix peer: no sockaddr at all, or the family alone.
    if not sockaddr:
        return None
    if len(sockaddr) >= _FAMILY.size:
        (family,) = _FAMILY.unpack_from(sockaddr)
        if family == AF_INET and len(sockaddr) >= SOCKADDR_IN_SIZE:
            (port,) = _PORT.unpack_from(sockaddr, 2)
            return socket.inet_ntop(socket.AF_INET, sockaddr[4:8]), port
        if family == AF_INET6 and len(sockaddr) >= SOCKADDR_IN6_SIZE:
            port, flowinfo, host = _IPV6.unpack_from(sockaddr, 2)
            (scope_id,) = _SCOPE.unpack_from(sockaddr, 24)
            name = socket.inet_ntop(socket.AF_INET6, host)
            # The traffic class above the label is no part of an address.
            return name, port, flowinfo & MAX_FLOWINFO, scope_id
        if family == AF_UNIX:
            return _decode_unix(sockaddr[_FAMILY.size :])
    raise ValueError(f"sockaddr must be a whole one, not {sockaddr!r}")


def _decode_unix(path: bytes) -> Address:
    if not path:
        return None
    if not path[0]:
        return path  # an abstract name may hold zero bytes, and end in them
    return os.fsdecode(path.split(b"\0", 1)[0])


class SockaddrCache(dict[Address, bytes]):
    """``encode_address``, each address once: ``map(cache.__getitem__, ...)``.

    At most ``limit`` peers are remembered: their number is up to the
    network. Past that the cache starts again from empty.

    What equals a remembered address stands for it, even where it would be
    refused alone: ``("127.0.0.1", 9.0)`` goes to port 9. To look at the types
    of each would take as long again as the look-up, 40 ns.

    A path on a socket of the internet, or a host on a Unix socket, is a
    mistake, and no datagram's error; IPv4 and IPv6 are one kind.

    Args:
      family: Of the socket; 0 if it is not known.
      limit: As above.
    """

    __slots__ = ("_family", "_limit")

    def __init__(self, family: int = 0, limit: int = 4096) -> None:
        super().__init__()
        self._family = family
        self._limit = limit

    def encoded(self, address: Address) -> bytes:
        """Return the sockaddr, which is not remembered.

        Raises:
          TypeError, ValueError: it is no address, or none of this kind.
        """
        sockaddr = encode_address(address)
        if (
            sockaddr
            and self._family
            and (self._family == AF_UNIX) != (family_of(sockaddr) == AF_UNIX)
        ):
            kind = "a path" if self._family == AF_UNIX else "(host, port)"
            raise TypeError(
                f"address must be {kind} on this socket, "
                f"not {type(address).__name__}: {address!r}"
            )
        return sockaddr

    def __missing__(self, address: Address) -> bytes:
        sockaddr = self.encoded(address)
        if len(self) >= self._limit:
            self.clear()
        self[address] = sockaddr
        return sockaddr


class AddressCache(dict[bytes, Address]):
    """``decode_address``, each sockaddr once; bounded in the same way."""

    __slots__ = ("_limit",)

    def __init__(self, limit: int = 4096) -> None:
        super().__init__()
        self._limit = limit

    def __missing__(self, sockaddr: bytes) -> Address:
        address = decode_address(sockaddr)
        if len(self) >= self._limit:
            self.clear()
        self[sockaddr] = address
        return address


def family_of(sockaddr: bytes) -> int:
    """Return the address family of ``sockaddr``, 0 for ``b""``."""
    return int(_FAMILY.unpack_from(sockaddr)[0]) if sockaddr else 0


def own_address(sock: Any) -> Any:
    """Return where a socket is bound: every address before it is.

    As getsockname(2) says it, which on Windows fails until then.
    """
    try:
        return sock.getsockname()
    except OSError as error:
        if sys.platform != "win32" or error.errno != errno.EINVAL:
            raise
    return ("::", 0, 0, 0) if sock.family == AF_INET6 else ("0.0.0.0", 0)  # noqa: S104


def endpoint(sockaddr: bytes) -> bytes:
    """Return what all sockaddrs of one host and port have in common.

    An IPv4 host is also one of IPv6, and a flow label is a part of the name
    only. So is the scope, here: hosts of two scopes count as one.
    """
    family = family_of(sockaddr)
    if family == AF_INET:
        return sockaddr[2:4] + V4_MAPPED + sockaddr[4:8]
    if family == AF_INET6:
        return sockaddr[2:4] + sockaddr[8:24]
    return sockaddr


def takes_v6_datagrams(sockaddr: bytes) -> bool:
    """Whether a datagram to ``sockaddr`` leaves as IPv6."""
    return (
        len(sockaddr) == SOCKADDR_IN6_SIZE
        and family_of(sockaddr) == AF_INET6
        and sockaddr[8:20] != V4_MAPPED
    )
