"""Batches of one socket, each with a sender that answers from where it asked.

A socket that is bound to no address of this host has as many as there are;
without being told, the kernel answers from the one that the route prefers,
and a peer that has asked another does not know the answer for one (RFC 1123,
6.1.3.3 says that of DNS servers).
"""

from __future__ import annotations

import contextlib
import copy
import ipaddress
from typing import TYPE_CHECKING

from triobatch._datagrams.errors import TruncatedDatagramError
from triobatch._datagrams.socket import DatagramSocket
from triobatch._datagrams.socket_receives import check_limit
from triobatch._wire.addresses import AF_INET, AF_INET6
from triobatch._wire.metadata import Metadata, metadata_options

if TYPE_CHECKING:
    from trio.socket import SocketType

    from triobatch._datagrams.abstract_socket import AbstractDatagramSocket
    from triobatch._senders.datagram_sender import DatagramBatchSender
    from triobatch._wire.addresses import Address

    Batch = tuple[list[tuple[bytes, Address]], DatagramBatchSender]

# How many addresses have a sender that is kept for them: 127.0.0.0/8 alone
# has more than there is memory for.
MAX_SENDERS = 256


class AskedReceiver:
    """Receives batches for the handlers of a server.

    Args:
      sock: What they come to.
      sender: Sends the answers.
      max_datagrams: How many datagrams a batch has at most.
    """

    def __init__(
        self,
        sock: AbstractDatagramSocket,
        sender: DatagramBatchSender,
        max_datagrams: int,
    ) -> None:
        max_datagrams = check_limit(max_datagrams)
        self._sock = sock
        self._sender = sender
        self._max_datagrams = max_datagrams
        self._senders: dict[Metadata, DatagramBatchSender] = {}
        self._receive = None
        # A subclass that receives in its own way is not gone round.
        if (
            isinstance(sock, DatagramSocket)
            and type(sock).receive_batch is DatagramSocket.receive_batch
            and has_many(sock)
        ):
            self._receive = sock._receive
            self._take = sock._receive.asked()

    async def receive(self) -> list[Batch]:
        """Wait for datagrams; return those that asked each address.

        One that is cut is counted by the socket, and dropped: a peer decides
        about its size, and not whether the server lives.
        """
        while True:
            with contextlib.suppress(TruncatedDatagramError):
                return await self._receive_batches()

    async def _receive_batches(self) -> list[Batch]:
        limit = self._max_datagrams
        if self._receive is None:
            return [(await self._sock.receive_batch(limit), self._sender)]
        asked = await self._receive.receive(limit, self._take)
        return [(pairs, self._sender_of(reply)) for reply, pairs in asked]

    def _sender_of(self, reply: Metadata) -> DatagramBatchSender:
        sender = self._senders.get(reply)
        if sender is None:
            sender = copy.copy(self._sender)
            sender.metadata = reply
            if len(self._senders) >= MAX_SENDERS:
                self._senders.clear()
            self._senders[reply] = sender
        return sender


def has_many(sock: DatagramSocket) -> bool:
    """Whether a socket hears more than the one address it sends from.

    One that is bound to a group hears what is sent there, and sends from any
    address of the host.
    """
    if sock.socket.family not in {AF_INET, AF_INET6}:
        return False
    host = ipaddress.ip_address(sock.socket.getsockname()[0].split("%")[0])
    mapped = getattr(host, "ipv4_mapped", None) or host
    return mapped.is_unspecified or mapped.is_multicast


def ask(sock: SocketType) -> None:
    """Let the kernel tell the address asked, from the first datagram on.

    Of what comes before that it does not tell whether it was a broadcast.
    """
    fields = frozenset({"local_address"})
    for level, option in metadata_options(int(sock.family), fields):
        with contextlib.suppress(OSError):
            sock.setsockopt(level, option, 1)
