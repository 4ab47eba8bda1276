"""sendto(2) as Linux has it, where the system says it in other words."""

from __future__ import annotations

import errno
import os
from typing import TYPE_CHECKING, Any

from triobatch._wire.addresses import AF_UNIX

if TYPE_CHECKING:
    import socket


def sendto(
    sock: socket.socket,
    payload: bytes | memoryview,
    flags: int,
    address: tuple[Any, ...] | str | bytes | None,
) -> None:
    """Send a datagram with one system call, or one more where it must be.

    A BSD's connected socket takes no address, not even its peer's own (EISCONN
    in sendto(2)). And of a Unix peer that has no room it says ENOBUFS, as
    nothing of what is sent there waits in the sender's own buffer
    (uipc_send() in bsd/kern/uipc_usrreq.c of macOS).

    Raises:
      BlockingIOError: a Unix peer has no room.
      OSError: the call failed.
    """
    try:
        if address is None:
            sock.send(payload, flags)
        else:
            sock.sendto(payload, flags, address)
        return
    except OSError as error:
        full = error.errno == errno.ENOBUFS and sock.family == AF_UNIX
        if not full and not (
            error.errno == errno.EISCONN and _is_peer(sock, address)
        ):
            raise
    if full:
        raise OSError(errno.EAGAIN, os.strerror(errno.EAGAIN))
    sendto(sock, payload, flags, None)


def _is_peer(sock: socket.socket, address: object) -> bool:
    """Whether a connected socket's peer has that address."""
    peer = sock.getpeername()
    if isinstance(address, tuple):
        # Of an IPv6 address the flow and the scope may be left out; a host of
        # another scope is another.
        scopes = {*peer[3:], *address[3:]} - {0}
        return bool(peer[:2] == address[:2]) and len(scopes) < 2
    return address is not None and bool(peer == address)
