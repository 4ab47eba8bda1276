"""The datagram calls of the core that runs.

The only importer of the cores. Calls return what the kernel did, never wait
and never loop, and raise ``OSError``.
"""

import importlib
import os
import socket
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from . import _core_python_datagrams as core


def choose_core() -> str:
    """Return ``"c"`` or ``"python"``, as TRIOBATCH_CORE says.

    Raises:
      ValueError: it says something else.
      ImportError: it says ``c``, and the C core was not built.
    """
    chosen = os.environ.get("TRIOBATCH_CORE")
    if chosen not in {None, "c", "python"}:
        raise ValueError(f"TRIOBATCH_CORE is neither c nor python: {chosen!r}")
    if chosen is None:
        try:
            importlib.import_module("triobatch._core")
        except ImportError:
            return "python"
        return "c"
    return chosen


CORE = choose_core()

if not TYPE_CHECKING:
    if CORE == "c":
        from . import _core_c_datagrams as core
    else:
        from . import _core_python_datagrams as core

MAX_MESSAGES = core.MAX_MESSAGES
send_datagrams = core.send_datagrams
receive_datagrams = core.receive_datagrams


def receive_error(
    sock: socket.socket, size: int
) -> tuple[bytes, list[tuple[int, int, bytes]], object]:
    """Take one entry off the error queue (recvmsg(2), MSG_ERRQUEUE)."""
    payload, control, _, address = sock.recvmsg(
        size, 512, socket.MSG_ERRQUEUE | socket.MSG_DONTWAIT
    )
    return payload, control, address
