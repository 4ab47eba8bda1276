"""Flags of send(2) and recv(2), 0 where the system has none.

PyPy's ``socket`` lacks names of flags that Linux has, with one number on every
processor (include/linux/socket.h).
"""

from __future__ import annotations

import socket
import sys

_LINUX = sys.platform == "linux"

# Whatever the descriptor's own mode is: it belongs to all who have the socket,
# and any of them may change it (fcntl(2), F_SETFL). Windows has no such flag,
# and no such sharing.
MSG_DONTWAIT = int(getattr(socket, "MSG_DONTWAIT", 0))

# A closed peer must not kill a process whose SIGPIPE is at its default. macOS
# and Windows have none: CPython's own setting, to ignore SIGPIPE, has to do
# there.
MSG_NOSIGNAL = int(getattr(socket, "MSG_NOSIGNAL", 0x4000 if _LINUX else 0))

# macOS and Windows have none: the header of a file leaves by itself there.
MSG_MORE = int(getattr(socket, "MSG_MORE", 0x8000 if _LINUX else 0))
