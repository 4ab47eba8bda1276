"""Marks for tests of what not every system has, each asked for by name."""

import socket
import sys

import pytest
import trio

from triobatch._core.probes import gso_segments, has_gro
from triobatch._datagrams import unix_peer
from triobatch._datagrams.statistics import kernel_drops
from triobatch._wire.metadata import metadata_options


def _tells_drops():
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        return kernel_drops(sock.getsockopt) is not None


# Whether the size of a datagram that was cut is what it was before that.
TELLS_SIZE = sys.platform == "linux"


def _takes_addresses():
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind(("127.0.0.1", 0))
        sock.connect(sock.getsockname())
        try:
            sock.sendto(b"", sock.getsockname())
        except OSError:
            return False
    return True


# Whether a connected socket takes an address, too. Elsewhere it says EISCONN,
# whatever else is wrong, unless the address is its peer's.
TAKES_ADDRESSES = _takes_addresses()

needs_gso = pytest.mark.skipif(gso_segments() == 1, reason="needs UDP_SEGMENT")
needs_gro = pytest.mark.skipif(not has_gro(), reason="needs UDP_GRO")
needs_metadata = pytest.mark.skipif(
    not metadata_options(socket.AF_INET),
    reason="there are no metadata to ask for",
)
needs_error_queue = pytest.mark.skipif(
    not hasattr(socket, "MSG_ERRQUEUE"), reason="there is no error queue"
)
needs_drops = pytest.mark.skipif(
    not _tells_drops(), reason="the system does not tell what it dropped"
)
# Whether it is a peer that has no room, or the socket itself.
needs_own_room = pytest.mark.skipif(
    not unix_peer.TELLS_OWN_ROOM,
    reason="the system does not tell what is left of a socket's own buffer",
)
needs_unix_sockets = pytest.mark.skipif(
    not hasattr(socket, "AF_UNIX"), reason="there are no Unix sockets"
)
needs_reuse_port = pytest.mark.skipif(
    not hasattr(socket, "SO_REUSEPORT"), reason="there is no SO_REUSEPORT"
)
needs_addresses_where_connected = pytest.mark.skipif(
    not TAKES_ADDRESSES,
    reason="a connected socket takes no address here",
)
needs_pipes = pytest.mark.skipif(
    not hasattr(trio.lowlevel, "FdStream"),
    reason="there are no pipes that are streams",
)

needs_no_tracer = pytest.mark.skipif(
    sys.gettrace() is not None,
    reason="what measures the tests' coverage allocates as well",
)
