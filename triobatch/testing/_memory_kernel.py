"""A kernel with two sockets, connected to one another, in memory.

It answers as Linux does on a connected pair of Unix sockets, with the same
errnos, in the same order (unix_dgram_sendmsg in net/unix/af_unix.c).
"""

from __future__ import annotations

import errno
import os
from collections import deque
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Final, TypeAlias

from trio import sleep_forever
from trio.lowlevel import ParkingLot, checkpoint

from triobatch._core import calls
from triobatch._core.arena import MSG_TRUNC
from triobatch._resource import open_fd
from triobatch._wire.addresses import AF_UNIX, encode_address
from triobatch._wire.control import SOL_IP, pack_control
from triobatch._wire.metadata import IP_TOS, IP_TTL
from triobatch.testing._kernel_calls import KernelCalls

if TYPE_CHECKING:
    from triobatch._core.arena import Arena
    from triobatch._wire.control import Control
    from triobatch._wire.error_queue import PeerError

Link: TypeAlias = Callable[[bytes], Iterable[bytes]]

# As UDP over IPv4, so that what is too large there is found out here.
MAX_DATAGRAM_SIZE: Final = 65507

# What an IP header carries to the other side. IP_PKTINFO says on one side
# where a datagram comes from, and on the other where it came to.
_CARRIED = {(SOL_IP, IP_TOS), (SOL_IP, IP_TTL)}


class MemorySocket:
    """One of the two sockets; what `AnySocket` says.

    Args:
      fd: What the kernel's calls know it by.
      address: What it is bound to.

    Attributes:
      sockaddr: That address.
      arrived: What was not received yet: payloads and control messages.
      connected: Whether a datagram without an address has a destination.
      readers: Who waits for datagrams.
      writers: Who waits for room at the other one.
    """

    family = AF_UNIX

    def __init__(self, fd: int, address: str) -> None:
        self.sockaddr: bytes = encode_address(address)
        self.arrived: deque[tuple[bytes, bytes]] = deque()
        self.connected = True
        self.readers: ParkingLot = ParkingLot()
        self.writers: ParkingLot = ParkingLot()
        self._fd = fd

    def fileno(self) -> int:
        """Return what the calls know it by, and -1 once it is closed."""
        return self._fd

    def setsockopt(self, level: int, option: int, value: int) -> None:
        """Accept every option; the metadata come without being asked for."""

    def close(self) -> None:
        """Close it; what has arrived is lost."""
        self._fd = -1
        self.arrived.clear()

    @property
    def closed(self) -> bool:
        """Whether it is closed."""
        return self._fd == -1


class MemoryKernel(KernelCalls):
    """The calls on both sockets; a ``Kernel``.

    Args:
      addresses: What the two are bound to.
      max_queued: Datagrams that a socket keeps until they are received.
      link: What becomes of a payload on its way.

    Attributes:
      sockets: The two, by their descriptors.
    """

    def __init__(
        self,
        addresses: tuple[str, str],
        max_queued: int | None,
        link: Link | None,
    ) -> None:
        self.sockets: list[MemorySocket] = [
            MemorySocket(i, addresses[i]) for i in range(2)
        ]
        self._max_queued = max_queued
        self._link = link
        # A link may raise anything, and then what went before is accounted
        # for only if that was in an earlier call.
        super().__init__(calls.MAX_MESSAGES if link is None else 1)

    def _send(
        self,
        fd: int,
        payload: bytes,
        segment_size: int,  # noqa: ARG002 (never asked to segment)
        peer: bytes,
        control: Control,
    ) -> None:
        sender, receiver = self.sockets[fd], self.other(fd)
        if len(payload) > MAX_DATAGRAM_SIZE:
            raise _error(errno.EMSGSIZE)
        if not peer and not sender.connected:
            raise _error(errno.ENOTCONN)
        if peer == sender.sockaddr:
            # It is connected, and not to itself.
            raise _error(errno.EPERM)
        if peer and peer != receiver.sockaddr:
            raise _error(errno.ENOENT)
        if receiver.closed:
            sender.connected = sender.connected and bool(peer)
            raise _error(errno.ECONNREFUSED)
        if not self.has_room(fd):
            raise _error(errno.EAGAIN)
        arriving: Iterable[bytes] = [payload]
        if self._link is not None:
            arriving = [bytes(memoryview(p)) for p in self._link(payload)]
        carried = pack_control(
            tuple(message for message in control if message[:2] in _CARRIED)
        )
        receiver.arrived.extend((item, carried) for item in arriving)
        receiver.readers.unpark_all()

    def receive_datagrams(self, fd: int, arena: Arena, count: int) -> int:
        """Fill slots; return how many, 0 where nothing has arrived."""
        arrived, sender = self.sockets[fd].arrived, self.other(fd)
        count = min(count, arena.slots, len(arrived))
        if not count:
            return 0
        for slot in range(count):
            payload, control = arrived.popleft()
            fitting = payload[: arena.slot_size]
            start = slot * arena.slot_size
            arena.memory[start : start + len(fitting)] = fitting
            size = len(payload)
            flags = MSG_TRUNC if size > len(fitting) else 0
            arena.describe(slot, size, flags, sender.sockaddr, control)
        arena.note_filled(count)
        sender.writers.unpark_all()
        return count

    def other(self, fd: int) -> MemorySocket:
        """Return the socket that one is connected to."""
        return self.sockets[1 - fd]

    def has_room(self, fd: int) -> bool:
        """Whether a datagram from one socket to the other can be queued."""
        return (
            self._max_queued is None
            or len(self.other(fd).arrived) < self._max_queued
        )


class MemoryReadiness:
    """What one of the sockets is waited for; an ``AnyReadiness``.

    Args:
      kernel: What has room, or has not.
      fd: Which socket.
    """

    def __init__(self, kernel: MemoryKernel, fd: int) -> None:
        # There is no network that could report anything.
        self.keep_errors = False
        self.errors: deque[PeerError] = deque()
        self._kernel = kernel
        self._fd = fd
        self._socket = kernel.sockets[fd]

    async def readable(self, *, again: bool) -> None:  # noqa: ARG002
        """Wait until there is a datagram."""
        while not self._socket.arrived:
            await self._socket.readers.park()
            open_fd(self._socket)

    async def writable(
        self,
        peer: bytes,
        *,
        again: bool,  # noqa: ARG002
    ) -> None:
        """Wait until the other one may have room."""
        await self.room_at(peer)
        open_fd(self._socket)

    def is_held_up_by(self, peer: bytes) -> bool:  # noqa: ARG002
        """Return False: there is one destination, and all wait for it."""
        return False

    async def flooded(self) -> None:
        """Let others run: no flood of reports ever comes."""
        await checkpoint()

    def was_refused_here(self) -> bool:
        """Return True: there is no other host."""
        return True

    async def room_at(self, peer: bytes) -> None:  # noqa: ARG002
        """Wait until the other one may have room, or either is closed."""
        if self._is_settled():
            await checkpoint()
        while not self._is_settled():
            await self._socket.writers.park()

    def _is_settled(self) -> bool:
        return (
            self._socket.closed
            or self._kernel.other(self._fd).closed
            or self._kernel.has_room(self._fd)
        )

    async def error(self, *, again: bool) -> None:  # noqa: ARG002
        """Wait for ever: nothing is reported."""
        await sleep_forever()

    def drain(self) -> None:
        """Do nothing: there is no error queue."""

    def close(self) -> None:
        """Close the socket, and wake whoever waits for it."""
        self._socket.close()
        other = self._kernel.other(self._fd)
        for lot in (
            self._socket.readers,
            self._socket.writers,
            other.writers,
        ):
            lot.unpark_all()


def _error(number: int) -> OSError:
    return OSError(number, os.strerror(number))
