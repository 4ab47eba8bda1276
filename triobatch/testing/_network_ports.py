"""A socket of a simulated network: its buffers, and who waits for it."""

from __future__ import annotations

import errno
import os
import struct
from collections import deque
from typing import TYPE_CHECKING, Final, NamedTuple

import trio
from trio.lowlevel import ParkingLot, checkpoint

from triobatch._datagrams.errnos import FIRST_PAUSE
from triobatch._datagrams.gso import MAX_SIZE_V4, MAX_SIZE_V6
from triobatch._datagrams.readiness import MAX_ERRORS
from triobatch._resource import open_fd
from triobatch._wire.addresses import (
    AF_INET6,
    decode_address,
    endpoint,
    family_of,
)
from triobatch._wire.control import (
    SOL_SOCKET,
    pack_control,
)
from triobatch._wire.metadata import (
    FIELDS,
    SO_TIMESTAMPNS,
    Metadata,
    decode_metadata,
    encode_metadata,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from triobatch._wire.control import Control
    from triobatch._wire.error_queue import PeerError

# What a datagram takes of a receive buffer beside its bytes: the smallest
# that Linux charges (SKB_TRUESIZE(1) in include/linux/skbuff.h).
OVERHEAD: Final = 768
DEFAULT_TTL: Final = 64

_TIMESPEC = struct.Struct("ll")
_UNSPECIFIED = {None, "0.0.0.0", "::"}  # noqa: S104 (any address will do)


class Arrived(NamedTuple):
    """A datagram in a receive buffer."""

    at: float
    payload: bytes
    source: bytes
    tos: int
    ttl: int


class Port:
    """A socket; what ``AnySocket`` says.

    Args:
      sockaddr: What it is bound to.
      peer: What it is connected to; ``b""`` if it is not.
      send_buffer_size: Bytes that may wait for a slow path.
      receive_buffer_size: Bytes that wait for being received.
      keep_errors: Whether it has an error queue.

    Attributes:
      fd: What the calls know it by; -1 until it is open, and once closed.
      family: That of its address.
      arrived: What was not received yet.
      drops: Datagrams for which there was no room.
      readers: Who waits for datagrams, or for errors.
      writers: Who waits for room.
    """

    def __init__(
        self,
        sockaddr: bytes,
        peer: bytes,
        *,
        send_buffer_size: int,
        receive_buffer_size: int,
        keep_errors: bool,
    ) -> None:
        self.fd: int = -1
        self.sockaddr = sockaddr
        self.peer = peer
        self.family: int = family_of(sockaddr)
        self.keep_errors = keep_errors
        self.arrived: deque[Arrived] = deque()
        self.errors: deque[PeerError] = deque(maxlen=MAX_ERRORS)
        self.drops: int = 0
        self.readers: ParkingLot = ParkingLot()
        self.writers: ParkingLot = ParkingLot()
        # The error that the next call gets.
        self.pending: int = 0
        self._send_room = send_buffer_size
        self._receive_room = receive_buffer_size
        # When each datagram leaves, and its bytes.
        self._leaving: deque[tuple[float, int]] = deque()
        self._options: set[tuple[int, int]] = set()

    def fileno(self) -> int:
        """Return the descriptor."""
        return self.fd

    def setsockopt(
        self,
        level: int,
        option: int,
        value: int,  # noqa: ARG002 (nothing is turned off)
    ) -> None:
        """Ask for metadata; every other option is accepted."""
        self._options.add((level, option))

    def close(self) -> None:
        """Close it, and wake whoever waits for it."""
        self.fd = -1
        self.arrived.clear()
        self.errors.clear()
        self.readers.unpark_all()
        self.writers.unpark_all()

    def raise_pending(self) -> None:
        """Raise the error that was reported, once."""
        if self.pending:
            number, self.pending = self.pending, 0
            raise OSError(number, os.strerror(number))

    def report(self, error: PeerError) -> None:
        """Take a report."""
        self.pending = error.errno
        if self.keep_errors:
            self.errors.append(error)
        self.readers.unpark_all()
        self.writers.unpark_all()

    def take_errors(self) -> list[PeerError]:
        """Empty the error queue; then nothing is pending either."""
        errors = list(self.errors)
        self.errors.clear()
        if errors:
            self.pending = 0
        return errors

    # The way out.

    def has_room(self, now: float) -> bool:
        """Whether one more datagram may wait, however large it is.

        As sock_alloc_send_pskb in net/core/sock.c has it.
        """
        leaving = self._leaving
        while leaving and leaving[0][0] <= now:
            self._send_room += leaving.popleft()[1]
        return self._send_room > 0

    def occupy(self, left_at: float, size: int) -> None:
        """Keep room for a datagram until it has left."""
        self._leaving.append((left_at, size + OVERHEAD))
        self._send_room -= size + OVERHEAD

    @property
    def room_at(self) -> float:
        """When the next datagram leaves, which gives back its room."""
        return self._leaving[0][0]

    def marks_of(self, control: Control) -> tuple[int, int]:
        """Return the traffic class and the TTL that are asked for.

        Raises:
          OSError: the source address asked for is not the socket's (EINVAL).
        """
        if not control:
            return 0, DEFAULT_TTL
        asked, _ = decode_metadata(pack_control(control))
        if asked.local_address not in {*_UNSPECIFIED, self.host}:
            raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
        return asked.tos or 0, asked.ttl or DEFAULT_TTL

    @property
    def host(self) -> str:
        """The numeric host that it is bound to."""
        address = decode_address(self.sockaddr)
        assert isinstance(address, tuple)
        return address[0]

    # The way in.

    def hears(self, source: bytes) -> bool:
        """Whether it takes datagrams from an address."""
        return not self.peer or endpoint(self.peer) == endpoint(source)

    def take(self, datagram: Arrived) -> bool:
        """Let a datagram in, if there is room."""
        # As in udp_rmem in net/ipv4/udp.c, the last one may exceed it.
        if self._receive_room <= 0:
            self.drops += 1
            return False
        self._receive_room -= len(datagram.payload) + OVERHEAD
        self.arrived.append(datagram)
        self.readers.unpark_all()
        return True

    def pop_train(self, segments: int) -> list[Arrived]:
        """Remove the first datagram, and what the kernel puts behind it.

        UDP_GRO: those that arrived at the same time, from one peer, of one
        size, the last of which may be shorter.
        """
        first = self.arrived.popleft()
        train = [first]
        size = len(first.payload)
        most = MAX_SIZE_V6 if self.family == AF_INET6 else MAX_SIZE_V4
        total = size
        while size and self.arrived and len(train) < segments:
            following = self.arrived[0]
            total += len(following.payload)
            if (
                following[2:] != first[2:]
                or following.at != first.at
                or not 0 < len(following.payload) <= size
                or total > most
            ):
                break
            train.append(self.arrived.popleft())
            if len(following.payload) < size:
                break
        for datagram in train:
            self._receive_room += len(datagram.payload) + OVERHEAD
        return train

    def control_of(self, datagram: Arrived) -> bytes:
        """Return the control messages of the options that are on."""
        if not self._options:
            return b""
        v6 = self.family == AF_INET6
        wanted = {
            name
            for name, options in FIELDS.items()
            if options[v6] in self._options
        }
        metadata = Metadata(datagram.tos, datagram.ttl, self.host, 1)
        messages = encode_metadata(
            metadata.only(frozenset(wanted)), self.family
        )
        if (SOL_SOCKET, SO_TIMESTAMPNS) in self._options:
            nanoseconds = round(datagram.at * 10**9)
            moment = _TIMESPEC.pack(*divmod(nanoseconds, 10**9))
            messages += ((SOL_SOCKET, SO_TIMESTAMPNS, moment),)
        return pack_control(messages)


class PortReadiness:
    """What a socket is waited for; an ``AnyReadiness``.

    Args:
      port: The socket.
      settle: Lets everything arrive whose time has come.
      close: Closes the socket.
    """

    def __init__(
        self,
        port: Port,
        settle: Callable[[], None],
        close: Callable[[Port], None],
    ) -> None:
        self.keep_errors = port.keep_errors
        self.errors: deque[PeerError] = deque(maxlen=MAX_ERRORS)
        self._port = port
        self._settle = settle
        self._close = close

    async def readable(self, *, again: bool) -> None:
        """Wait until there is a datagram, or an error."""
        port = self._port
        if again:
            self._take_pending()
        waited = False
        while not (port.arrived or port.pending):
            await port.readers.park()
            waited = True
            open_fd(port)
        if not waited:
            await checkpoint()
            open_fd(port)
        if self.keep_errors:
            self.drain()

    async def writable(
        self,
        peer: bytes,  # noqa: ARG002 (there is one queue)
        *,
        again: bool,
    ) -> None:
        """Wait until there is room, or an error."""
        port = self._port
        if again:
            self._take_pending()
        waited = False
        while not port.has_room(trio.current_time()) and not port.pending:
            with trio.move_on_at(port.room_at):
                await port.writers.park()
            waited = True
            open_fd(port)
        if not waited:
            await checkpoint()
            open_fd(port)

    def is_held_up_by(self, peer: bytes) -> bool:  # noqa: ARG002
        """Return False: what has no room is the socket itself."""
        return False

    async def flooded(self) -> None:
        """Let the reports pass by."""
        await trio.sleep(FIRST_PAUSE)
        open_fd(self._port)
        self._take_pending()

    def was_refused_here(self) -> bool:
        """Return False: here the host has refused none for its route."""
        self.drain()
        return False

    async def room_at(self, peer: bytes) -> None:  # noqa: ARG002
        """Return: no destination ever holds up others."""
        await checkpoint()

    async def error(self, *, again: bool) -> None:  # noqa: ARG002
        """Wait until there is a report."""
        port = self._port
        while not port.errors:
            await port.readers.park()
            open_fd(port)

    def drain(self) -> None:
        """Take the reports, if they are wanted."""
        open_fd(self._port)
        self._settle()
        self.errors.extend(self._port.take_errors())

    def _take_pending(self) -> None:
        self.drain()
        self._port.pending = 0

    def close(self) -> None:
        """Close the socket, and wake whoever waits for it."""
        self._close(self._port)


def headers_of(family: int) -> int:
    """Return the bytes of the IP and UDP headers (RFC 791, 8200, 768)."""
    return 48 if family == AF_INET6 else 28
