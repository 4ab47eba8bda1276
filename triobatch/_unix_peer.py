"""Waiting until the peer of an unconnected Unix socket has room.

Such a socket is writable whatever the destination's queue holds: the kernel
tells only about the peer that a socket is connected to. So a second socket
is connected to that destination, and waited for.
"""

import socket

import trio

from triobatch._addresses import decode_address

# How long to wait for a peer that cannot be waited for, in seconds.
BACK_OFF = 0.01
# How long to wait for one peer, before looking whether it still is the one:
# its path may have been bound anew, or it may want no more of this.
LOOK_AGAIN = 1.0


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
    """Return a probe, or None if there is no descriptor left for it.

    Likewise if the peer is connected to another socket, or gone: then the
    next send tells.
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
