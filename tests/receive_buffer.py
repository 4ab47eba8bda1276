"""Receive buffers that hold what the tests have on its way at once."""

import contextlib
import socket

import pytest

# Over what the limit for everybody allows (socket(7)), with the right to;
# Python has no name for it.
SO_RCVBUFFORCE = 33
SIZE = 4 << 20


def grow_receive_buffer(sock):
    """Ask for 4 MiB; return whether that is what it got."""
    for option in SO_RCVBUFFORCE, socket.SO_RCVBUF:
        with contextlib.suppress(OSError):
            sock.setsockopt(socket.SOL_SOCKET, option, SIZE)
            break
    # The kernel doubles what is asked for.
    return sock.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF) >= 2 * SIZE


def _may_grow():
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        return grow_receive_buffer(sock)


needs_room = pytest.mark.skipif(
    not _may_grow(),
    reason="needs a receive buffer of 4 MiB: root, or net.core.rmem_max",
)
