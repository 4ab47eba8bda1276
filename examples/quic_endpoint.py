"""QUIC connections by aioquic on one socket, driven by one task.

A QUIC library without a socket of its own says what is to be sent, and is
told what has come. All that one system call has brought is told it before it
is asked, and all that it answers leaves with the next one: acknowledgements
are shared, and packets of one size go as trains (UDP GSO).
"""

from __future__ import annotations

import heapq
import math
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar

import trio
from aioquic.buffer import Buffer  # type: ignore[attr-defined]
from aioquic.quic import events
from aioquic.quic.configuration import SMALLEST_MAX_DATAGRAM_SIZE
from aioquic.quic.connection import QuicConnection
from aioquic.quic.packet import (
    QuicPacketType,
    encode_quic_version_negotiation,
    pull_quic_header,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from aioquic.quic.configuration import QuicConfiguration

    from triobatch import Address, Errors, ReceivedDatagram

    Datagrams = list[ReceivedDatagram]

P = TypeVar("P", bound="Connection")


class Socket(Protocol):
    """What of a ``triobatch.DatagramSocket`` is needed."""

    async def receive_batch(self) -> Datagrams:
        """Return what has come, some at a time."""
        ...

    async def send_batch(self, datagrams: Datagrams, *, errors: Errors) -> int:
        """Send all of it, without an error where one is refused."""
        ...


class Connection:
    """One QUIC connection. A protocol is a subclass with ``take``."""

    def __init__(self, quic: QuicConnection, endpoint: Endpoint[Any]) -> None:
        self.quic = quic
        # When the endpoint will look whether it is time for something.
        self.timer = math.inf
        # Why it is over, if it is.
        self.reason: str | None = None
        self.is_established = False
        self._endpoint = endpoint
        self._names: set[bytes] = set()
        self._changed = trio.Event()

    def take(self, event: events.QuicEvent) -> None:
        """Do what is to be done about an event."""

    def note(self, event: events.QuicEvent) -> None:
        """Keep up with what aioquic tells, and hand it on."""
        if isinstance(event, events.HandshakeCompleted):
            self.is_established = True
        elif isinstance(event, events.ConnectionTerminated):
            self.reason = event.reason_phrase or "the connection is closed"
            for name in tuple(self._names):
                self.drop_name(name)
        elif isinstance(event, events.ConnectionIdIssued):
            self.add_name(event.connection_id)
        elif isinstance(event, events.ConnectionIdRetired):
            self.drop_name(event.connection_id)
        self.take(event)
        self._changed.set()
        self._changed = trio.Event()

    def add_name(self, name: bytes) -> None:
        """Note an identifier by which the peer may mean this connection."""
        self._names.add(name)
        self._endpoint.connections[name] = self

    def drop_name(self, name: bytes) -> None:
        """Forget it."""
        self._names.discard(name)
        self._endpoint.connections.pop(name, None)

    def touch(self) -> None:
        """Have sent what was given to ``quic`` by another task."""
        self._endpoint.touch(self)

    async def wait(self, happened: Callable[[], object]) -> bool:
        """Wait until it has; return False if the connection ends first."""
        while not happened():
            if self.reason is not None:
                return False
            await self._changed.wait()
        return True

    async def aclose(self) -> None:
        """Say so to the peer, and wait until it has been sent."""
        self.quic.close()
        self.touch()
        await self.wait(lambda: False)


class Endpoint(Generic[P]):
    """The QUIC connections of one socket, driven by one task.

    Args:
      sock: The socket.
      protocol: What a connection is.
      configuration: What a server says to those who come; a client has none.
    """

    def __init__(
        self,
        sock: Socket,
        protocol: Callable[[QuicConnection, Endpoint[P]], P],
        configuration: QuicConfiguration | None = None,
    ) -> None:
        self._sock = sock
        self._protocol = protocol
        self._configuration = configuration
        self.connections: dict[bytes, Connection] = {}
        self._touched: dict[Connection, None] = {}
        self._timers: list[tuple[float, int, Connection]] = []
        self._waiting = trio.CancelScope()
        self._now = trio.current_time

    def connect(
        self, configuration: QuicConfiguration, address: tuple[str, int]
    ) -> P:
        """Begin a connection to a server."""
        connection = self._add(QuicConnection(configuration=configuration))
        connection.quic.connect(address, now=self._now())
        self.touch(connection)
        return connection

    def touch(self, connection: Connection) -> None:
        """See to it that what a connection has to say is sent soon."""
        self._touched[connection] = None
        # No datagram is lost with a cancelled receive_batch.
        self._waiting.cancel()

    async def run(self) -> None:
        """Receive and send, for ever."""
        while True:
            await self._flush()
            timer = self._timers[0][0] if self._timers else math.inf
            batch: Datagrams = []
            with trio.CancelScope(deadline=timer) as self._waiting:
                batch = await self._sock.receive_batch()
            now, refused = self._now(), []
            for data, address in batch:
                refused += self._receive(data, address, now)
            if refused:
                await self._sock.send_batch(refused, errors="ignore")
            self._wake(now)

    def _wake(self, now: float) -> None:
        while self._timers and self._timers[0][0] <= now:
            _, _, connection = heapq.heappop(self._timers)
            connection.timer = math.inf
            timer = connection.quic.get_timer()
            if timer is not None and timer <= now:
                connection.quic.handle_timer(now)
                self._touched[connection] = None
            else:
                self._note_timer(connection)

    async def _flush(self) -> None:
        while self._touched:
            datagrams: Datagrams = []
            touched, self._touched = self._touched, {}
            now = self._now()
            for connection in touched:
                while event := connection.quic.next_event():
                    connection.note(event)
                datagrams += connection.quic.datagrams_to_send(now)
                self._note_timer(connection)
            # A peer that cannot be reached times out by itself.
            if datagrams:
                await self._sock.send_batch(datagrams, errors="ignore")

    def _receive(self, data: bytes, address: Address, now: float) -> Datagrams:
        """Hand on a datagram; return what answers one of another version."""
        try:
            header = pull_quic_header(Buffer(data=data), host_cid_length=8)
        except ValueError:
            return []
        connection = self.connections.get(header.destination_cid)
        configuration = self._configuration
        if connection is None:
            if configuration is None:
                return []
            negotiates = (
                header.packet_type is QuicPacketType.VERSION_NEGOTIATION
            )
            if (
                not negotiates
                and header.version is not None
                and header.version not in configuration.supported_versions
            ):
                answer = encode_quic_version_negotiation(
                    source_cid=header.destination_cid,
                    destination_cid=header.source_cid,
                    supported_versions=configuration.supported_versions,
                )
                return [(answer, address)]
            if (
                header.packet_type is not QuicPacketType.INITIAL
                or len(data) < SMALLEST_MAX_DATAGRAM_SIZE
            ):
                return []
            asked = header.destination_cid
            connection = self._add(
                QuicConnection(
                    configuration=configuration,
                    original_destination_connection_id=asked,
                ),
                asked,
            )
        connection.quic.receive_datagram(data, address, now=now)
        self._touched[connection] = None
        return []

    def _add(self, quic: QuicConnection, *names: bytes) -> P:
        connection = self._protocol(quic, self)
        for name in (quic.host_cid, *names):
            connection.add_name(name)
        return connection

    def _note_timer(self, connection: Connection) -> None:
        # Most move on with each packet: an entry that comes too early costs
        # less than one for each time.
        timer = connection.quic.get_timer()
        if timer is not None and timer < connection.timer:
            connection.timer = timer
            heapq.heappush(self._timers, (timer, id(connection), connection))
