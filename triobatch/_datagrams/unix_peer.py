"""Waiting until the peer of an unconnected Unix socket has room.

Such a socket is writable whatever the destination's queue holds: the kernel
tells only about the peer that a socket is connected to. So a second socket
is connected to that destination, and waited for.

And it may be unwritable, for ever, though there is room: what its peers have
not read counts against its own SO_SNDBUF, and epoll(7) calls it writable below
a quarter of that, while sendmsg(2) goes on up to all of it. One peer that does
not read can hold it between the two.
"""

from __future__ import annotations

import socket
import struct
import sys
from typing import Final

import trio

from triobatch._wire.addresses import decode_address

if sys.platform != "win32":
    import fcntl
    import termios

# Whether the system tells how much of its own buffer a socket has used up.
TELLS_OWN_ROOM: Final = sys.platform == "linux"
# How long to wait for a peer that cannot be waited for, in seconds.
BACK_OFF = 0.01
# How long to wait for one peer before a datagram is tried again: its path may
# be another socket's by then, or it may have connected to somebody else.
LOOK_AGAIN = 1.0


def has_room(sock: trio.socket.SocketType) -> bool:
    """Whether it is not the socket's own buffer that is full.

    That is what the kernel asks itself in sock_alloc_send_pskb().
    """
    if not TELLS_OWN_ROOM:
        return False
    answer = fcntl.ioctl(sock.fileno(), termios.TIOCOUTQ, bytes(4))
    (unread,) = struct.unpack("i", answer)
    limit = sock.getsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF)
    return bool(unread < limit)


async def wait_for_own_room(fd: int) -> None:
    """Wait until the socket's own buffer may have room."""
    with trio.move_on_after(BACK_OFF):
        await trio.lowlevel.wait_writable(fd)


async def wait_for_room(peer: bytes) -> None:
    """Wait until a datagram to ``peer``, a sockaddr, may be taken."""
    probe = _connected_to(peer)
    if probe is None:
        await trio.sleep(BACK_OFF)
        return
    with probe, trio.move_on_after(LOOK_AGAIN):
        await trio.lowlevel.wait_writable(probe)


@trio.lowlevel.enable_ki_protection
def _connected_to(peer: bytes) -> socket.socket | None:
    """Return a socket that is connected to ``peer``, or None.

    None where there is no descriptor left for one; and where the peer is
    connected to another socket, or gone, which the next send tells.
    """
    address = decode_address(peer)
    assert isinstance(address, str | bytes)
    try:
        probe = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    except OSError:
        return None
    try:
        probe.setblocking(False)
        probe.connect(address)
    except OSError:
        probe.close()
        return None
    return probe
