"""Control messages (cmsg(3)): their layout, and the numbers of their levels.

Sans-IO: packs and parses the bytes that sendmsg(2) takes and recvmsg(2) fills.
"""

from __future__ import annotations

import socket
import struct
from functools import lru_cache
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

# (level, type, data), as sendmsg of the standard library takes them.
ControlMessage: TypeAlias = tuple[int, int, bytes]
# What goes with one datagram, or with each of many.
Control: TypeAlias = tuple[ControlMessage, ...]

# A protocol's options and control messages have its number as their level.
SOL_SOCKET = socket.SOL_SOCKET
SOL_IP = socket.IPPROTO_IP
SOL_IPV6 = socket.IPPROTO_IPV6
IPPROTO_UDP = socket.IPPROTO_UDP
SOL_UDP = IPPROTO_UDP

# include/uapi/linux/udp.h; Python's socket module has neither.
UDP_SEGMENT = 103
UDP_GRO = 104

# struct cmsghdr: the size, header included, the level and the type.
_HEADER = struct.Struct("Nii")
_ALIGNMENT = struct.calcsize("N")


@lru_cache(maxsize=64)
def pack_control(messages: Sequence[ControlMessage]) -> bytes:
    """Return a control buffer that holds ``messages``."""
    packed = bytearray()
    for level, kind, data in messages:
        packed += _HEADER.pack(_HEADER.size + len(data), level, kind) + data
        packed += bytes(-len(packed) % _ALIGNMENT)
    return bytes(packed)


def unpack_control(control: bytes) -> Iterator[ControlMessage]:
    """Yield the control messages in a buffer; a cut one ends it."""
    start = 0
    while start + _HEADER.size <= len(control):
        size, level, kind = _HEADER.unpack_from(control, start)
        if not _HEADER.size <= size <= len(control) - start:
            return
        yield level, kind, control[start + _HEADER.size : start + size]
        start += size + -size % _ALIGNMENT
