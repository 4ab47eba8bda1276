"""Opening a Unix socket for datagrams, with a name of its own."""

from __future__ import annotations

import os
import socket

import trio
from trio.lowlevel import enable_ki_protection

from triobatch._datagrams.socket import DatagramSocket
from triobatch._unix_name import UnixName, bind, check_mode, checked_name


class _NamedSocket(DatagramSocket):
    """A socket that takes its name out of the file system when closed."""

    def __init__(self, socket: trio.socket.SocketType, name: UnixName) -> None:
        super().__init__(socket)
        self._name = name

    async def aclose(self) -> None:
        """Close the socket, and unlink its name if it is still ours."""
        try:
            if self.socket.fileno() != -1:
                self._name.remove()
        finally:
            await super().aclose()


# Or Ctrl-C could come between the name and the socket that removes it.
@enable_ki_protection
async def open_unix_datagram_socket(
    path: str | bytes | os.PathLike[str] | os.PathLike[bytes],
    *,
    mode: int | None = None,
) -> DatagramSocket:
    """Open a Unix socket for datagrams, bound to a name.

    A name that a process left behind is replaced, and closing the socket
    removes it again, as ``open_unix_listener`` has it; so does the lock beside
    it, ``<path>.triobatch-lock``, keep servers that start at once apart.

    Args:
      path: Where it is to be in the file system; or an abstract name, which
        begins with a NUL and is in none (unix(7)).
      mode: Its permissions, as for ``os.chmod``; the umask's by default. Who
        sends needs that to write.

    Returns:
      A socket that is not connected. To answer a peer, that must have a name
      too.

    Raises:
      OSError: ``path`` is in use (EADDRINUSE), by a socket of another process
        or something else, such as a symbolic link; a stream's socket has it
        (EPROTOTYPE); or it could not be bound.
      ValueError: ``path`` is empty, or has a NUL in it; or it is abstract and
        ``mode`` is given.
      RuntimeError: this system has no Unix sockets.
    """
    checked = checked_name(path, "path")
    check_mode(mode)
    sock, name = await trio.to_thread.run_sync(
        bind, checked, socket.SOCK_DGRAM, mode
    )
    own = trio.socket.from_stdlib_socket(sock)
    return DatagramSocket(own) if name is None else _NamedSocket(own, name)
