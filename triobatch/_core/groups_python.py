"""System calls on many stream sockets at once, through the standard library.

The twin of ``groups_c``: the same names, the same results. What is one call of
the core there is a loop here.
"""

from __future__ import annotations

import errno
import os
import sys
from typing import TYPE_CHECKING, cast

from triobatch._core import streams_python
from triobatch._core.chunks import IOV_MAX
from triobatch._core.messages import as_pieces

if TYPE_CHECKING:
    from triobatch._core.messages import Message


# As in _streams/gather.py, and in groups.c.
_COPY_BELOW = 8192


class GroupArena:
    """How much to receive; the memory is the standard library's.

    Args:
      receive_size: At most this many bytes from one stream.
    """

    __slots__ = ("receive_size",)

    def __init__(self, receive_size: int) -> None:
        self.receive_size = receive_size


def receive_group(arena: GroupArena, fds: list[int]) -> list[bytes | int]:
    """Receive from many stream sockets, with one ``recv(2)`` each.

    Args:
      arena: The group's.
      fds: At least one.

    Returns:
      For each of them what it gave, ``b""`` at the end of the stream; or the
      errno, negative.
    """
    # read(2) on a socket is recv(2) without flags (recv(2)), and needs no
    # socket object around the descriptor.
    receive = streams_python.receive if sys.platform == "win32" else os.read
    received: list[bytes | int] = []
    for fd in fds:
        try:
            data = receive(fd, arena.receive_size)
            received.append(-errno.EAGAIN if data is None else data)
        except OSError as error:
            received.append(_negative(error))
    return received


def send_group(
    fds: list[int], messages: list[Message]
) -> tuple[list[int], bool]:
    """Send a message to each of many stream sockets, one system call each.

    Args:
      fds: Where the messages go, in this order.
      messages: One for each.

    Returns:
      For each of them the bytes taken, or the errno, negative; and whether
      all were taken whole.

    Raises:
      TypeError: a message is neither bytes nor a list of them. Nothing was
        sent.
    """
    results: list[int] = []
    all_whole = True
    for fd, message in zip(fds, list(map(as_pieces, messages)), strict=True):
        size = sum(map(len, message))
        try:
            sent = _send(fd, message, size) if size else 0
        except OSError as error:
            sent = _negative(error)
        results.append(sent)
        all_whole = all_whole and sent == size
    return results, all_whole


def _send(fd: int, pieces: list[bytes], size: int) -> int:
    if len(pieces) == 1:
        return streams_python.send(fd, pieces[0])
    if size < _COPY_BELOW * len(pieces):
        return streams_python.send(fd, b"".join(pieces))
    sent, _ = streams_python.send_pointed(fd, [*pieces[:IOV_MAX]], 0)
    return sent


def _negative(error: OSError) -> int:
    if isinstance(error, BlockingIOError):
        # One number for what has another on Windows.
        return -errno.EAGAIN
    return -cast("int", error.errno)
