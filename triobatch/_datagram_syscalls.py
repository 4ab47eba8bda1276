"""The datagram calls of the core that runs.

The only importer of the cores. Calls return what the kernel did, never wait
and never loop, and raise ``OSError``.
"""

import socket
from typing import TYPE_CHECKING

from triobatch._addresses import Address
from triobatch._borrowed_socket import borrowed_socket
from triobatch._core_choice import CORE
from triobatch._metadata import ControlMessage

if TYPE_CHECKING:
    from triobatch import _core_python_datagrams as core


if not TYPE_CHECKING:
    if CORE == "c":
        from triobatch import _core_c_datagrams as core
    else:
        from triobatch import _core_python_datagrams as core

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
