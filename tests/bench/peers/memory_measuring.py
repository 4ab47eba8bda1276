"""What the drivers that measure memory share.

Memory is what this process has to itself in RAM (smaps_rollup, proc(5)). What
is made for one request is kept when the next one comes: memory that is used
again would not show.
"""

import gc
import resource
import socket
import struct
from pathlib import Path

from measuring import Stopwatch, answer

LOOPBACK = "127.0.0.1"
# Connections that are opened at once: fewer than any listener's backlog.
CROWD = 50


def raise_limit():
    """Allow as many open files as we may."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def private_size():
    """Return the bytes in RAM that no other process has."""
    gc.collect()
    lines = Path("/proc/self/smaps_rollup").read_text().splitlines()
    return 1024 * sum(
        int(line.split()[1]) for line in lines if line.startswith("Private_")
    )


class Growth:
    """What this process grows by from when it is made."""

    def __init__(self):
        self._before = private_size()
        self._watch = Stopwatch()

    def report(self, count):
        """Answer the harness."""
        spent = self._watch.read()
        grown = private_size() - self._before
        answer(**spent, count=count, memory=grown)


def crowds(port, own_port, count):
    """Yield how many there are to be, after each crowd has connected."""
    with socket.create_connection((LOOPBACK, port)) as peers:
        for start in range(0, count, CROWD):
            crowd = min(CROWD, count - start)
            peers.sendall(struct.pack("!QQ", own_port, crowd))
            if peers.recv(1) != b"\0":
                raise RuntimeError("the peers have gone")
            yield start + crowd


def greet(address):
    """Send a datagram, so that a socket is not as it was made."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.sendto(b"hello", address)


def full_socket():
    """Return a TCP socket that takes nothing more, and what keeps it so."""
    listener = socket.create_server((LOOPBACK, 0))
    sock = socket.socket()
    # Or it would grow when the peer acknowledges.
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 65536)
    sock.connect(listener.getsockname())
    sock.settimeout(0.05)
    try:
        while True:
            sock.send(bytes(65536))
    except TimeoutError:
        pass
    sock.setblocking(False)
    return sock, listener


def messages(request):
    """Yield what is to be queued, each made anew."""
    size = int(request.options["size"])
    return (bytes(size) for _ in range(request.count))
