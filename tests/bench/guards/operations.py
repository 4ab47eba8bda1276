"""The operations that are guarded, and what each may cost.

Each is done in triobatch's way and in that of a program which has the
standard library only, on sockets of its own, in one process: what is sent is
taken away, and what is received is sent, outside of what is measured. Sockets
are such that nothing has to wait, so that each time is like the other.
"""

from __future__ import annotations

import contextlib
import socket
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import trio

from triobatch import BatchSocketStream, DatagramSocket

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

LOOPBACK = "127.0.0.1"
SIZE = 1200
COUNT = 64
BLOCK = 16 * 54
RECEIVE_BUFFER = 4 << 20
# Python has no name for it: SO_RCVBUF above net.core.rmem_max, for root.
SO_RCVBUFFORCE = 33


def nothing() -> None:
    """Do nothing."""


@dataclass(frozen=True)
class Operation:
    """Something that triobatch does, and how it would be done without.

    ``calls`` are the system calls of one, without those for memory. Its time
    is at most ``ratio`` times that of ``theirs``, and ``peak`` the bytes that
    it has allocated at most at a time.
    """

    name: str
    ours: Callable[[], Awaitable[Any]]
    theirs: Callable[[], object]
    calls: dict[str, int]
    ratio: float
    peak: int
    before_ours: Callable[[], object] = nothing
    after_ours: Callable[[], object] = nothing
    before_theirs: Callable[[], object] = nothing
    after_theirs: Callable[[], object] = nothing

    def prepare(self) -> None:
        """Do what is to be done before each time."""
        self.before_ours()

    async def clean_up(self) -> None:
        """Do what is to be done after each time."""
        self.after_ours()


@dataclass
class Place:
    """Where operations get their sockets, which it closes at the end."""

    stack: contextlib.AsyncExitStack
    room: bytearray = field(default_factory=lambda: bytearray(1 << 20))

    def pair(self) -> tuple[socket.socket, socket.socket]:
        """Return two connected stream sockets."""
        left, right = socket.socketpair()
        for sock in (left, right):
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 20)
            self.stack.enter_context(sock)
        right.setblocking(False)
        return left, right

    def stream(self) -> tuple[BatchSocketStream, socket.socket]:
        """Return a stream, and the socket at its other end."""
        left, right = self.pair()
        left.setblocking(False)
        return BatchSocketStream(trio.socket.from_stdlib_socket(left)), right

    def datagrams(self) -> socket.socket:
        """Return a UDP socket."""
        sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.stack.enter_context(sock)
        sock.bind((LOOPBACK, 0))
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER)
        with contextlib.suppress(PermissionError):
            sock.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, RECEIVE_BUFFER)
        return sock

    def batches(self) -> DatagramSocket:
        """Return a UDP socket of ours."""
        sock = self.datagrams()
        sock.setblocking(False)
        return DatagramSocket(trio.socket.from_stdlib_socket(sock))

    def drain(self, *socks: socket.socket) -> Callable[[], None]:
        """Return what takes away all that ``socks`` have."""

        def take() -> None:
            for sock in socks:
                with contextlib.suppress(BlockingIOError):
                    while sock.recv_into(
                        self.room, len(self.room), socket.MSG_DONTWAIT
                    ):
                        pass

        return take
