"""The datagram calls of the core that runs.

The only importer of the cores. Calls return what the kernel did, never wait
and never loop, and raise ``OSError``.
"""

import socket
from typing import TYPE_CHECKING

from triobatch._core.borrowed_socket import borrowed_socket
from triobatch._core.choice import CORE
from triobatch._wire.addresses import Address
from triobatch._wire.metadata import ControlMessage

if TYPE_CHECKING:
    from triobatch._core import datagrams_python as core


if not TYPE_CHECKING:
    if CORE == "c":
        from triobatch._core import datagrams_c as core
    else:
        from triobatch._core import datagrams_python as core

MAX_MESSAGES = core.MAX_MESSAGES
send_datagrams = core.send_datagrams
send_segments = core.send_segments
copy_segments = core.copy_segments
receive_datagrams = core.receive_datagrams


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
