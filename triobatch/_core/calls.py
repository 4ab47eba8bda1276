"""The one seam to the kernel: the system calls of the core that runs.

Every system call on a socket that moves data is made as ``calls.x()``. That
look-up costs 13 ns more than a name bound at import, and in return one patch
of this module fakes a call for all who make it (``triobatch.testing``).

Nothing here waits or loops. Errors are ``OSError``; a call that would block
raises ``BlockingIOError``. EINTR never surfaces: the C core repeats the call,
and the standard library does the same (PEP 475).
"""

from __future__ import annotations

import socket
import sys
from typing import TYPE_CHECKING

from triobatch._core.borrowed_socket import borrowed_socket
from triobatch._core.choice import CORE
from triobatch._core.flags import MSG_DONTWAIT
from triobatch._core.splice_python import read_file

if TYPE_CHECKING:
    from triobatch._wire.addresses import Address
    from triobatch._wire.control import ControlMessage

if CORE == "c":
    from triobatch._core.datagram_batches_c import (
        Batch,
        pack,
        pack_pairs,
        send_batch,
    )
    from triobatch._core.datagrams_c import (
        MAX_MESSAGES,
        lend,
        receive_datagrams,
        send_datagram,
        send_datagrams,
        send_past,
        send_runs,
        send_segments,
        take_back,
    )
    from triobatch._core.groups_c import (
        GroupArena,
        receive_group,
        send_group,
    )
    from triobatch._core.splice_c import cached, send_file, send_more
    from triobatch._core.streams_c import (
        Vector,
        broadcast,
        receive,
        receive_into,
        send,
        send_copied,
        send_list,
        send_pointed,
    )
else:
    from triobatch._core.datagram_batches_python import (  # type: ignore[assignment]
        Batch,
        pack,
        pack_pairs,
        send_batch,
    )
    from triobatch._core.datagrams_python import (
        MAX_MESSAGES,
        lend,
        receive_datagrams,
        send_datagram,
        send_datagrams,
        send_past,
        send_runs,
        send_segments,
        take_back,
    )
    from triobatch._core.groups_python import (  # type: ignore[assignment]
        GroupArena,
        receive_group,
        send_group,
    )
    from triobatch._core.splice_python import cached, send_file, send_more
    from triobatch._core.streams_python import (  # type: ignore[assignment]
        Vector,
        broadcast,
        receive,
        receive_into,
        send,
        send_copied,
        send_list,
        send_pointed,
    )

__all__ = [
    "MAX_MESSAGES",
    "Batch",
    "GroupArena",
    "Vector",
    "accept",
    "broadcast",
    "cached",
    "lend",
    "pack",
    "pack_pairs",
    "read_file",
    "receive",
    "receive_datagrams",
    "receive_error",
    "receive_group",
    "receive_into",
    "send",
    "send_batch",
    "send_copied",
    "send_datagram",
    "send_datagrams",
    "send_file",
    "send_group",
    "send_list",
    "send_more",
    "send_past",
    "send_pointed",
    "send_runs",
    "send_segments",
    "take_back",
]


# CPython makes room for an address of the family that it is told, and decodes
# one of that which came. To look for the socket's own is 3 getsockopt(2). PyPy
# decodes one of the family that it is told.
_ANY_IP = socket.AF_INET6 if socket.has_ipv6 else socket.AF_INET
if sys.implementation.name == "pypy":  # pragma: no cover (of PyPy)
    _ANY_IP = -1  # type: ignore[assignment]

# Linux alone has the queue.
_FROM_ERROR_QUEUE = MSG_DONTWAIT | int(getattr(socket, "MSG_ERRQUEUE", 0))


def accept(fd: int) -> socket.socket:
    """Accept a connection with one ``accept(2)``.

    No flag keeps that call from waiting, only the mode does, which belongs to
    all who share the listener. So it is set each time.

    Raises:
      BlockingIOError: there is none.
      OSError: the call failed.
    """
    with borrowed_socket(fd) as sock:
        sock.setblocking(False)
        return sock.accept()[0]


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
        with borrowed_socket(fd, _ANY_IP, socket.SOCK_DGRAM) as sock:
            payload, control, _, address = sock.recvmsg(
                size, 512, _FROM_ERROR_QUEUE
            )
    except BlockingIOError:
        return None
    return payload, control, address
