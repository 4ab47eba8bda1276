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
from collections import deque
from typing import TYPE_CHECKING

import trio

from triobatch._datagrams.errors import TruncatedDatagramError
from triobatch._datagrams.receiving import BATCH
from triobatch._datagrams.socket import DatagramSocket
from triobatch._wire.addresses import AF_INET, AF_INET6
from triobatch._wire.metadata import Metadata, metadata_options

if TYPE_CHECKING:
    from collections.abc import Callable

    from trio.socket import SocketType

    from triobatch._datagrams.abstract_socket import AbstractDatagramSocket
    from triobatch._datagrams.receiving import Asked, ReceiveHalf
    from triobatch._senders.datagram_sender import DatagramBatchSender
    from triobatch._wire.addresses import Address

    Batch = tuple[list[tuple[bytes, Address]], DatagramBatchSender]

# How many addresses have a sender that is kept for them: 127.0.0.0/8 alone
# has more than there is memory for.
MAX_SENDERS = 256
# How many datagrams are taken over from the kernel while they come faster than
# they are answered. Up to a quarter of the socket's buffer counts as full when
# it was read already (udp_rmem_release in net/ipv4/udp.c), so that 8000 short
# queries fit into one of 4 MiB, and yet 290 were dropped, while all 8000 were
# there again and again. These are not.
AHEAD = 640
# And how many bytes, or these could be 40 MiB of a peer's.
AHEAD_SIZE = 2**20


class AskedReceiver:
    """Receives batches for the handlers of a server.

    Under load it is some batches ahead of the handlers: see ``AHEAD``.

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
        self._sock = sock
        self._sender = sender
        self._max_datagrams = max_datagrams
        self._senders: dict[Metadata, DatagramBatchSender] = {}
        self._receive: ReceiveHalf | None = None
        self._take: Callable[[int], list[Asked]] | None = None
        # What calls have brought, how many datagrams these are, and bytes.
        self._ahead: deque[tuple[int, int, list[Batch]]] = deque()
        self._count = 0
        self._size = 0
        # A subclass that receives in its own way is not gone round.
        if (
            isinstance(sock, DatagramSocket)
            and type(sock).receive_batch is DatagramSocket.receive_batch
        ):
            self._receive = sock._receive
            if has_many(sock):
                self._take = sock._receive.asked()

    async def receive(self) -> list[Batch]:
        """Wait for datagrams; return those that asked each address.

        One that is cut is counted by the socket, and dropped: a peer decides
        about its size, and not whether the server lives.
        """
        if self._receive is None:
            return await self._receive_plainly()
        if self._ahead:
            await trio.lowlevel.checkpoint()
        while not self._ahead:
            with contextlib.suppress(TruncatedDatagramError):
                await self._receive.receive(self._max_datagrams, self._put)
        self._read_ahead(self._receive)
        count, size, oldest = self._ahead.popleft()
        self._count -= count
        self._size -= size
        return oldest

    async def _receive_plainly(self) -> list[Batch]:
        while True:
            with contextlib.suppress(TruncatedDatagramError):
                batch = await self._sock.receive_batch(self._max_datagrams)
                return [(batch, self._sender)]

    def _read_ahead(self, half: ReceiveHalf) -> None:
        limit = self._max_datagrams
        whole = min(limit, BATCH)
        # So many times at most: those that are cut add nothing.
        for _ in range(AHEAD):
            if (
                self._count >= AHEAD
                or self._size >= AHEAD_SIZE
                or self._ahead[-1][0] < whole
            ):
                return
            # Behind one that was cut it goes on with the next batch.
            with contextlib.suppress(TruncatedDatagramError):
                try:
                    half.receive_nowait(limit, self._put)
                except trio.WouldBlock:
                    return

    def _put(self, limit: int) -> list[Batch]:
        """Take datagrams out of the inbox, where nothing can lose them."""
        assert self._receive is not None
        if self._take is None:
            batches = [(self._receive.inbox.take(limit), self._sender)]
        else:
            batches = [
                (datagrams, self._sender_of(reply))
                for reply, datagrams in self._take(limit)
            ]
        sizes = [
            len(payload)
            for datagrams, _ in batches
            for payload, _ in datagrams
        ]
        count, size = len(sizes), sum(sizes)
        self._ahead.append((count, size, batches))
        self._count += count
        self._size += size
        return batches

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
