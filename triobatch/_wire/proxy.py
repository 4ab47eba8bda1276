"""The PROXY protocol, versions 1 and 2: whose connection a proxy hands on.

By the specification of its author, Willy Tarreau:
https://www.haproxy.org/download/3.2/doc/proxy-protocol.txt. The numbers in the
comments are its sections.
"""

from __future__ import annotations

import ipaddress
import os
import re
import socket
import struct
from dataclasses import dataclass
from typing import Final, Literal

from triobatch._wire.addresses import Address, check_port
from triobatch._wire.proxy_extensions import (
    ProxyHeaderError,
    pack_extensions,
    unpack_extensions,
    with_checksum,
)

SIGNATURE: Final = b"\r\n\r\n\0\r\nQUIT\n"

# 2.1: "If the CRLF sequence is not found in the first 107 characters, the
# receiver should declare the line invalid."
_LONGEST_LINE: Final = 107

# Signature, version and command, family and protocol, size of the rest (2.2).
_FIXED: Final = struct.Struct("!12sBBH")
_VERSION: Final = 0x20
_LOCAL: Final = 0
_PROXY: Final = 1
_INET, _INET6, _UNIX = 1, 2, 3
_STREAM, _DATAGRAM = 1, 2
_PROTOCOLS: Final = {"stream": _STREAM, "datagram": _DATAGRAM}

# How the addresses of a family lie: source, destination, and their ports.
_ADDRESSES: Final = {
    _INET: struct.Struct("!4s4sHH"),
    _INET6: struct.Struct("!16s16sHH"),
    _UNIX: struct.Struct("!108s108s"),
}

# 2.1: no leading zeros, "to avoid any possible confusion with octal".
_PORT: Final = re.compile(r"0|[1-9][0-9]{0,4}")
_FAMILY_OF_NAME: Final = {"TCP4": _INET, "TCP6": _INET6}
_DIGITS: Final = {
    _INET: re.compile(r"[0-9.]+"),
    # HAProxy writes what inet_ntop(3) does, which has a dotted tail where an
    # IPv4 address is mapped. ipaddress takes a scope, which 2.1 does not.
    _INET6: re.compile(r"[0-9A-Fa-f:.]+"),
}


@dataclass(frozen=True, slots=True)
class ProxyHeader:
    """What a proxy says of the connection that it hands on.

    Attributes:
      source: The client's address, as ``getpeername()`` has it: ``(host,
        port)``, ``(host, port, 0, 0)`` for IPv6, a path for a Unix socket.
        None where the connection's own addresses are meant.
      destination: The address that the client connected to, likewise.
      local: The proxy made the connection for itself, to see whether this end
        is well. It has no addresses.
      transport: ``"stream"`` or ``"datagram"``.
      extensions: Whatever else it says (type, length, value; section 2.2 of
        the specification), in order: ``(0x02, b"example.org")`` is the name
        that the client asked for. A checksum (type 0x03, four bytes) is
        looked at when it is received, and computed when it is encoded.
    """

    source: Address | None = None
    destination: Address | None = None
    local: bool = False
    transport: Literal["stream", "datagram"] = "stream"
    extensions: tuple[tuple[int, bytes], ...] = ()

    def encode(self, version: Literal[1, 2] = 2) -> bytes:
        """Return the bytes that begin a connection.

        Args:
          version: 2, or the line of text that 1 is: for TCP alone, without
            extensions.

        Raises:
          TypeError: the source or the destination is no address, or an
            extension's value not bytes.
          ValueError: it cannot be said in this version; the source and the
            destination are not of one family; they do not fit.
        """
        if version == 1:
            return self._line()
        if version == 2:
            return self._block()
        raise ValueError(f"version must be 1 or 2, not {version!r}")

    def _line(self) -> bytes:
        if self.extensions or self.transport != "stream":
            raise ValueError("version 1 has TCP alone, without extensions")
        if self.source is None or self.destination is None:
            self._check_without()
            return b"PROXY UNKNOWN\r\n"
        family, (source, destination), ports = self._packed()
        if family == _UNIX:
            raise ValueError("version 1 has no Unix sockets")
        name = "TCP4" if family == _INET else "TCP6"
        return (
            f"PROXY {name} {_digits(source)} {_digits(destination)} "
            f"{ports[0]} {ports[1]}\r\n"
        ).encode("ascii")

    def _block(self) -> bytes:
        command, family, protocol, body = _LOCAL, 0, 0, b""
        if self.source is None or self.destination is None:
            self._check_without()
            if self.extensions:
                raise ValueError("extensions need addresses")
            command = _LOCAL if self.local else _PROXY
        else:
            command = _PROXY
            family, both, ports = self._packed()
            if self.transport not in tuple(_PROTOCOLS):
                raise ValueError(
                    "transport must be stream or datagram, "
                    f"not {self.transport!r}"
                )
            protocol = _PROTOCOLS[self.transport]
            body = _ADDRESSES[family].pack(*both, *ports)
        more = pack_extensions(self.extensions)
        if len(body) + len(more) > 0xFFFF:
            raise ValueError(
                f"extensions must fit in {0xFFFF - len(body)} bytes, "
                f"not {len(more)}"
            )
        header = _FIXED.pack(
            SIGNATURE,
            _VERSION | command,
            family << 4 | protocol,
            len(body) + len(more),
        )
        return with_checksum(header + body + more, len(header + body))

    def _check_without(self) -> None:
        if self.source is not None or self.destination is not None:
            raise ValueError(
                "source and destination must be given both, or neither"
            )

    def _packed(self) -> tuple[int, tuple[bytes, bytes], tuple[int, ...]]:
        """Return the family, both addresses, and their ports if any."""
        assert self.source is not None
        assert self.destination is not None
        if self.local:
            raise ValueError("a local connection has no addresses")
        family, source, source_port = _pack(self.source, "source")
        other, destination, destination_port = _pack(
            self.destination, "destination"
        )
        if family != other:
            raise ValueError(
                "source and destination must be of one family, not "
                f"{self.source!r} and {self.destination!r}"
            )
        return (
            family,
            (source, destination),
            (*source_port, *destination_port),
        )


def header_size(data: memoryview, limit: int) -> int | None:
    """Return the size of the header that ``data`` begins with.

    Args:
      data: What has come so far.
      limit: The most bytes that a header may have.

    Returns:
      The size; None if more must come before it can be told, or all of it.

    Raises:
      ProxyHeaderError: this is no header, or too large a one.
    """
    front = bytes(data[: _FIXED.size])
    if front[:12] == SIGNATURE[: len(front)]:
        return _block_size(front, len(data), limit)
    if front[:6] == b"PROXY "[: len(front)]:
        return _line_size(bytes(data[:_LONGEST_LINE]), limit)
    raise ProxyHeaderError(f"no PROXY protocol header: {front!r}")


def _block_size(front: bytes, received: int, limit: int) -> int | None:
    # As soon as it can be told, so that the sender gets to know (2.1).
    if len(front) > 12:
        if front[12] & 0xF0 != _VERSION:
            raise ProxyHeaderError(f"version must be 2, not {front[12] >> 4}")
        if front[12] & 0x0F > _PROXY:
            raise ProxyHeaderError(f"unknown command {front[12] & 0x0F}")
    if len(front) < _FIXED.size:
        return None
    size = _FIXED.size + int.from_bytes(front[14:16], "big")
    if size > limit:
        raise ProxyHeaderError(
            f"header must be at most {limit} bytes, not {size}"
        )
    return size if received >= size else None


def _line_size(line: bytes, limit: int) -> int | None:
    longest = min(_LONGEST_LINE, limit)
    end = line.find(b"\n", 0, longest)
    if end >= 0:
        if line[end - 1 : end] != b"\r":
            raise ProxyHeaderError("the line must end with CRLF, not LF")
        return end + 1
    if len(line) >= longest:
        raise ProxyHeaderError(f"no CRLF in the first {longest} bytes")
    return None


def parse_header(header: bytes) -> ProxyHeader:
    """Return what a whole header says.

    Args:
      header: As many bytes as ``header_size`` has told.

    Raises:
      ProxyHeaderError: it is malformed.
    """
    if header.startswith(SIGNATURE):
        return _parse_block(header)
    return _parse_line(header)


def _parse_line(line: bytes) -> ProxyHeader:
    line = line.removesuffix(b"\r\n")
    if line == b"PROXY UNKNOWN" or line.startswith(b"PROXY UNKNOWN "):
        # "The receiver must ignore anything presented before the CRLF."
        return ProxyHeader()
    try:
        text = line.decode("ascii")
    except UnicodeDecodeError:
        raise ProxyHeaderError(f"line must be ASCII: {line!r}") from None
    # Not split(): there is exactly one space between the words.
    words = text.split(" ")
    family = _FAMILY_OF_NAME.get(words[1])
    if family is None:
        raise ProxyHeaderError(f"unknown protocol {words[1]!r}")
    if len(words) != 6:
        raise ProxyHeaderError(f"line must have 6 words: {text!r}")
    hosts = [_parse_host(word, family) for word in words[2:4]]
    ports = [_parse_port(word) for word in words[4:6]]
    source, destination = (
        _address(family, host, port)
        for host, port in zip(hosts, ports, strict=True)
    )
    return ProxyHeader(source, destination)


def _parse_host(word: str, family: int) -> bytes:
    try:
        if not _DIGITS[family].fullmatch(word):
            raise ValueError(word)
        kind = (
            ipaddress.IPv4Address if family == _INET else ipaddress.IPv6Address
        )
        return kind(word).packed
    except ValueError:
        raise ProxyHeaderError(f"malformed address {word!r}") from None


def _parse_port(word: str) -> int:
    if not _PORT.fullmatch(word) or int(word) > 0xFFFF:
        raise ProxyHeaderError(f"malformed port {word!r}")
    return int(word)


def _parse_block(block: bytes) -> ProxyHeader:
    _, command, kind, size = _FIXED.unpack_from(block)
    if command & 0x0F == _LOCAL:
        # 2.2: "discard the protocol block including the family".
        return ProxyHeader(local=True)
    family, protocol = kind >> 4, kind & 0x0F
    if family > _UNIX or protocol > _DATAGRAM:
        raise ProxyHeaderError(f"unknown family and protocol {kind:#04x}")
    if not family or not protocol:
        # 2.2: "The receiver should ignore address information."
        return ProxyHeader()
    layout = _ADDRESSES[family]
    if size < layout.size:
        raise ProxyHeaderError(
            f"addresses must have {layout.size} bytes, not {size}"
        )
    source, destination, *ports = layout.unpack_from(block, _FIXED.size)
    source_port, destination_port = ports or (0, 0)
    return ProxyHeader(
        _address(family, source, source_port),
        _address(family, destination, destination_port),
        transport="stream" if protocol == _STREAM else "datagram",
        extensions=tuple(unpack_extensions(block, _FIXED.size + layout.size)),
    )


def _digits(packed: bytes) -> str:
    if packed[:-4] == bytes(10) + b"\xff\xff":
        # CPython 3.13 and newer write a dotted tail, which 2.1 has not.
        return "::ffff:{:x}:{:x}".format(*struct.unpack("!HH", packed[12:]))
    return str(ipaddress.ip_address(packed))


def _address(family: int, packed: bytes, port: int) -> Address:
    if family == _UNIX:
        if packed[:1] == b"\0":
            # The abstract namespace, or no name (unix(7)).
            return packed.rstrip(b"\0") or ""
        return os.fsdecode(packed.partition(b"\0")[0])
    if family == _INET:
        return socket.inet_ntop(socket.AF_INET, packed), port
    return socket.inet_ntop(socket.AF_INET6, packed), port, 0, 0


def _pack(address: Address, name: str) -> tuple[int, bytes, tuple[int, ...]]:
    """Return the family and the bytes of an address, and its port if any."""
    if isinstance(address, str | bytes):
        # A subclass may have a len() of its own.
        path = bytes(memoryview(os.fsencode(address)))
        if len(path) > 108:
            raise ValueError(
                f"{name} must be a path of at most 108 bytes, not {address!r}"
            )
        if 0 in path[1:] and path[0]:
            # It would end there (unix(7)), and be another.
            raise ValueError(
                f"{name} must be a path without a zero byte, not {address!r}"
            )
        return _UNIX, path, ()
    if not isinstance(address, tuple) or not 2 <= len(address) <= 4:
        raise TypeError(
            f"{name} must be a (host, port) tuple or a path, not {address!r}"
        )
    host, port = address[:2]
    if not isinstance(host, str):
        raise TypeError(f"the host of {name} must be a str: {address!r}")
    port = check_port(port, f"the port of {name}")
    try:
        packed = ipaddress.ip_address(host.partition("%")[0]).packed
    except ValueError:
        raise ValueError(
            f"the host of {name} must be numeric, not {host!r}"
        ) from None
    return (_INET if len(packed) == 4 else _INET6), packed, (port,)
