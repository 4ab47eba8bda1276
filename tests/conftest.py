"""Sockets that most of the tests want."""

import contextlib
import os
import socket

import pytest
import trio

from triobatch._datagram_socket import DatagramSocket

FAMILIES = ["ipv4", "ipv6", "unix"]


def bound_socket(family, directory):
    """Return a Trio datagram socket with a name of its own."""
    if family == "unix":
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        sock.bind(os.path.join(directory, os.urandom(6).hex()))
    else:
        version = socket.AF_INET if family == "ipv4" else socket.AF_INET6
        sock = socket.socket(version, socket.SOCK_DGRAM)
        sock.bind(("127.0.0.1" if family == "ipv4" else "::1", 0))
        # 4 MiB hold what the tests have on its way at once.
        with contextlib.suppress(OSError):
            sock.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, 4 << 20)
    sock.setblocking(False)
    return trio.socket.from_stdlib_socket(sock)


SO_RCVBUFFORCE = 33


@pytest.fixture
async def make_socket(tmp_path):
    """Return a function that makes a bound ``DatagramSocket``."""
    async with contextlib.AsyncExitStack() as stack:

        async def make(family="ipv4", **options):
            sock = stack.enter_context(bound_socket(family, str(tmp_path)))
            return DatagramSocket(sock, **options)

        yield make


@pytest.fixture
async def pair():
    """Return two connected Unix datagram sockets, with small buffers."""
    left, right = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    left.setblocking(False)
    right.setblocking(False)
    async with (
        DatagramSocket(trio.socket.from_stdlib_socket(left)) as first,
        DatagramSocket(trio.socket.from_stdlib_socket(right)) as second,
    ):
        yield first, second
