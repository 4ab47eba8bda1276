"""The one seam to the kernel: the system calls of the core that runs.

Every system call on a socket that moves data is made as ``calls.x()``. That
look-up costs 13 ns more than a name bound at import, and in return one patch
of this module fakes a call for all who make it (``triobatch.testing``).

Nothing here waits or loops. Errors are ``OSError``; a call that would block
raises ``BlockingIOError``. EINTR never surfaces: the C core repeats the call,
and the standard library does the same (PEP 475).
"""

from __future__ import annotations

import os
import socket
from typing import TYPE_CHECKING

from triobatch._core import streams_python
from triobatch._core.borrowed_socket import borrowed_socket
from triobatch._core.choice import CORE

if TYPE_CHECKING:
    from triobatch._wire.addresses import Address
    from triobatch._wire.metadata import ControlMessage

if CORE == "c":
    from triobatch._core.datagrams_c import (
        MAX_MESSAGES,
        copy_segments,
        receive_datagrams,
        send_datagrams,
        send_segments,
    )
    from triobatch._core.groups_c import (
        GroupArena,
        receive_group,
        send_group,
    )
    from triobatch._core.streams_c import (
        Vector,
        broadcast,
        copy_list,
        receive_into,
        send,
        send_copied,
        send_pointed,
    )
else:
    from triobatch._core.datagrams_python import (
        MAX_MESSAGES,
        copy_segments,
        receive_datagrams,
        send_datagrams,
        send_segments,
    )
    from triobatch._core.groups_python import (  # type: ignore[assignment]
        GroupArena,
        receive_group,
        send_group,
    )
    from triobatch._core.streams_python import (  # type: ignore[assignment]
        Vector,
        broadcast,
        copy_list,
        receive_into,
        send,
        send_copied,
        send_pointed,
    )

__all__ = [
    "MAX_MESSAGES",
    "GroupArena",
    "Vector",
    "accept",
    "broadcast",
    "copy_list",
    "copy_segments",
    "receive",
    "receive_datagrams",
    "receive_error",
    "receive_group",
    "receive_into",
    "send",
    "send_copied",
    "send_datagrams",
    "send_group",
    "send_pointed",
    "send_segments",
]


def accept(fd: int) -> socket.socket:
    """Accept a connection, if one is waiting.

    Both cores do this with the standard library, which sets the options.
    """
    with borrowed_socket(fd) as listener:
        accepted, _ = listener.accept()
    return accepted


def receive(fd: int, size: int) -> bytes:
    """Receive at most ``size`` bytes with one system call.

    Returns:
      The bytes; ``b""`` at the end of the stream.
    """
    if os.name == "posix":
        # read(2) on a socket is recv(2) without flags (recv(2)).
        return os.read(fd, size)
    return streams_python.receive(fd, size)


def receive_error(
    fd: int, size: int
) -> tuple[bytes, list[ControlMessage], Address] | None:
    """Take one entry off the error queue (recvmsg(2), MSG_ERRQUEUE).

    Both cores do this with the standard library: reports are few.

    Returns:
      Up to ``size`` bytes of the datagram, the control messages, and the
      address it was sent to; or None, if the queue is empty.
    """
    try:
        with borrowed_socket(fd) as sock:
            payload, control, _, address = sock.recvmsg(
                size, 512, socket.MSG_ERRQUEUE | socket.MSG_DONTWAIT
            )
    except BlockingIOError:
        return None
    return payload, control, address
