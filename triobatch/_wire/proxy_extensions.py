"""What else a PROXY protocol header says, and the checksum that it may have.

Type, length and value, one behind the other: section 2.2 of the specification.
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Final

from triobatch._wire.arguments import as_integer, must_be

if TYPE_CHECKING:
    from collections.abc import Iterator

# 2.2.3.
CRC32C: Final = 0x03
_CHECKSUM_SIZE: Final = 4
# Of the type and the length.
_FRONT: Final = 3


class ProxyHeaderError(ValueError):
    """A PROXY protocol header is malformed, or larger than allowed."""


def pack_extensions(extensions: tuple[tuple[int, bytes], ...]) -> bytes:
    """Return the bytes of extensions; see ``with_checksum``.

    Raises:
      TypeError: they are no pairs of a number and bytes.
      ValueError: one does not fit, or the checksum is not one of four bytes.
    """
    if not isinstance(extensions, tuple | list):
        raise TypeError(must_be("extensions must be a tuple", extensions))
    packed = b""
    checksums = 0
    for index, item in enumerate(extensions):
        if not isinstance(item, tuple | list) or len(item) != 2:
            raise TypeError(
                must_be(f"extension {index} must be (type, value)", item)
            )
        kind = as_integer(item[0], f"the type of extension {index}")
        value = item[1]
        if not isinstance(value, bytes):
            # A view has a len() that is not its size.
            raise TypeError(
                f"the value of extension {index} must be bytes, "
                f"not {type(value).__name__}"
            )
        # A subclass may have a len() of its own.
        value = bytes(memoryview(value))
        if not 0 <= kind <= 0xFF:
            raise ValueError(
                f"the type of extension {index} must be in 0..255, not {kind}"
            )
        if len(value) > 0xFFFF:
            raise ValueError(
                f"extension {index} must have at most 65535 bytes, "
                f"not {len(value)}"
            )
        checksums += kind == CRC32C
        if kind == CRC32C and (len(value) != _CHECKSUM_SIZE or checksums > 1):
            raise ValueError(
                f"extension {index} must be the only checksum, of 4 bytes, "
                f"not {value!r}"
            )
        packed += bytes((kind,)) + len(value).to_bytes(2, "big") + value
    return packed


def unpack_extensions(block: bytes, start: int) -> Iterator[tuple[int, bytes]]:
    """Return the extensions of a header, which begin at ``start``.

    Raises:
      ProxyHeaderError: one is cut off, or the checksum is wrong, or there are
        several: each takes time, and whoever connects can make all of them
        right.
    """
    places = list(_places(block, start))
    sums = [(value, end) for kind, value, end in places if kind == CRC32C]
    for value, end in sums:
        if len(sums) > 1 or end - value != _CHECKSUM_SIZE:
            raise ProxyHeaderError("the checksum must be one, of 4 bytes")
        if block[value:end] != _sum_of(block, value, end):
            raise ProxyHeaderError("the checksum is wrong")
    for kind, value, end in places:
        yield kind, block[value:end]


def with_checksum(block: bytes, start: int) -> bytes:
    """Return a header whose checksum is right, if it has one at all."""
    for kind, value, end in _places(block, start):
        if kind == CRC32C:
            return block[:value] + _sum_of(block, value, end) + block[end:]
    return block


def _places(block: bytes, start: int) -> Iterator[tuple[int, int, int]]:
    """Return the type of each extension, and where its value is."""
    while start < len(block):
        value = start + _FRONT
        end = value + int.from_bytes(block[start + 1 : value], "big")
        if value > len(block) or end > len(block):
            raise ProxyHeaderError("an extension is cut off")
        yield block[start], value, end
        start = end


def _sum_of(block: bytes, start: int, end: int) -> bytes:
    """Return the checksum of the header with zeros in its place (2.2.3)."""
    found = crc32c(block[:start] + bytes(end - start) + block[end:])
    return found.to_bytes(_CHECKSUM_SIZE, "big")


def crc32c(data: bytes) -> int:
    """Return the checksum of RFC 4960, appendix B."""
    table = _crc32c_table()
    crc = 0xFFFFFFFF
    for byte in data:
        crc = crc >> 8 ^ table[(crc ^ byte) & 0xFF]
    return crc ^ 0xFFFFFFFF


@functools.cache
def _crc32c_table() -> list[int]:
    table = []
    for byte in range(256):
        crc = byte
        for _ in range(8):
            crc = crc >> 1 ^ (0x82F63B78 if crc & 1 else 0)
        table.append(crc)
    return table
