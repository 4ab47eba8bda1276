"""A socket filter that lets in the datagrams of one peer.

A program for the kernel's filter machine, as linux/filter.h has it. A UDP
socket's data begin with the UDP header, and negative offsets look at the
network's header, or ask about the datagram (SKF_NET_OFF, SKF_AD_OFF).
"""

from __future__ import annotations

import ipaddress
import struct

_LOAD, _LOAD_HALF, _UNLESS_EQUAL, _RETURN = 0x20, 0x28, 0x15, 0x06
_NETWORK = -0x100000 & 0xFFFFFFFF
_PROTOCOL = -0x1000 & 0xFFFFFFFF
_IPV4, _IPV6 = 0x0800, 0x86DD
# Where these headers have their source (RFC 791, RFC 8200).
_SOURCE = {_IPV4: 12, _IPV6: 8}


def peer_filter(address: tuple[str, int] | tuple[str, int, int, int]) -> bytes:
    """Return the program, a ``struct sock_filter`` an instruction.

    Args:
      address: The peer's, with a numeric host. For one that the kernel puts
        another in the place of (connect(2) to 0.0.0.0 or ::) the program lets
        in nothing.
    """
    host = ipaddress.ip_address(address[0].partition("%")[0])
    host = getattr(host, "ipv4_mapped", None) or host
    if host.is_unspecified:
        return _instruction(_RETURN, 0)
    protocol = _IPV4 if host.version == 4 else _IPV6
    source = _NETWORK + _SOURCE[protocol]
    words = struct.unpack(f">{len(host.packed) // 4}I", host.packed)
    wanted = [
        (_LOAD, _PROTOCOL, protocol),
        (_LOAD_HALF, 0, address[1]),
        *((_LOAD, source + 4 * i, word) for i, word in enumerate(words)),
    ]
    program = b""
    for index, (load, offset, value) in enumerate(wanted):
        # Past the others, and the return behind them.
        to_refusal = 2 * (len(wanted) - index) - 1
        program += _instruction(load, offset)
        program += _instruction(_UNLESS_EQUAL, value, to_refusal)
    return (
        program + _instruction(_RETURN, 0xFFFFFFFF) + _instruction(_RETURN, 0)
    )


def _instruction(code: int, operand: int, if_not: int = 0) -> bytes:
    return struct.pack("HBBI", code, 0, if_not, operand)
