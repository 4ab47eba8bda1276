"""Arithmetic over a list of chunks: how many bytes, and where they lie.

A chunk is ``bytes`` or a one-dimensional ``memoryview`` of bytes. ``measure``
and ``locate`` have twins in ``_native/chunks.c``, which take their place where
the C core runs and that extension is there; ``front`` is here alone.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Final

from triobatch._core.choice import CHUNK_EXTENSION, CORE

__all__ = ["COPY_SIZE", "IOV_MAX", "front", "locate", "measure"]

# How many bytes are copied into one piece at the most: it bounds the memory
# that sending takes, whatever the batch. Every call costs the sender a trip
# through TCP and the receiver a wake-up, so pieces must not be small: 4096 x
# 64 B over loopback took 254 us in pieces of 64 KiB, 154 in one of 256 KiB,
# 1024 x 512 B 410, 267 and (512 KiB) 218, against 243 with iovecs.
COPY_SIZE: Final = 2**19

# UIO_MAXIOV in include/uapi/linux/uio.h. More iovecs are refused: EINVAL from
# writev(2), EMSGSIZE from sendmsg(2). POSIX promises 16, the standard's
# _XOPEN_IOV_MAX, where the system does not say.
_FALLBACK_IOV_MAX = 16


def _system_iov_max() -> int:
    try:
        stated = os.sysconf("SC_IOV_MAX")
    except (AttributeError, ValueError, OSError):
        return _FALLBACK_IOV_MAX
    # -1 is "no limit"; the C core's array ends at 1024 all the same.
    return min(stated, 1024) if stated > 0 else 1024


IOV_MAX: Final = _system_iov_max()

_BYTES = frozenset((bytes,))


def measure(chunks: list[object]) -> int:
    """Return the bytes in a list of non-empty bytes, -1 if it is not one."""
    if _BYTES.issuperset(map(type, chunks)) and all(chunks):
        return sum(map(len, chunks))  # type: ignore[arg-type]
    return -1


def locate(
    chunks: list[bytes | memoryview], index: int, offset: int, size: int
) -> tuple[int, int]:
    """Return the position that lies ``size`` bytes after the given one.

    Args:
      chunks: None of them empty.
      index: The chunk to start in; ``len(chunks)`` at the end.
      offset: The byte of that chunk to start from.
      size: In bytes; may reach past the end.

    Returns:
      The index of a chunk and an offset below its size, or
      ``(len(chunks), 0)`` when ``size`` reaches the end.
    """
    count = len(chunks)
    while index < count:
        left = len(chunks[index]) - offset
        if size < left:
            return index, offset + size
        size -= left
        offset = 0
        index += 1
    return count, 0


def front(
    chunks: list[bytes | memoryview], index: int, offset: int, size: int
) -> list[bytes | memoryview]:
    """Return what lies in ``size`` bytes from a position on, or all there is.

    Args:
      chunks: None of them empty.
      index: The chunk to start in.
      offset: The byte of that chunk to start from.
      size: In bytes; may reach past the end.
    """
    stop, tail = locate(chunks, index, offset, size)
    between = chunks[index:stop]
    if tail and size:
        between.append(memoryview(chunks[stop])[:tail])
    if offset and between:
        between[0] = memoryview(between[0])[offset:]
    return between


if CORE == "c" and CHUNK_EXTENSION and not TYPE_CHECKING:
    from triobatch._core._chunks_c import locate, measure
