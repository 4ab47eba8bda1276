"""sendmmsg(2) and recvmmsg(2) themselves: one call, no wait, no loop."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterable
from itertools import islice
from typing import Any, TypeAlias

import trio

from triobatch._core import calls
from triobatch._core.arena import Arena
from triobatch._core.borrowed_socket import borrowed_socket
from triobatch._core.datagram_lists import teller
from triobatch._datagrams.gso import NO_SEGMENTATION
from triobatch._queues.datagrams import (
    Datagram,
    Datagrams,
    Directed,
    undirected,
)
from triobatch._wire.addresses import (
    Address,
    AddressCache,
    SockaddrCache,
    encode_address,
)
from triobatch._wire.arguments import as_integer
from triobatch._wire.control import Control
from triobatch._wire.metadata import encode_metadata

Columns: TypeAlias = tuple[Arena, Callable[[], list[tuple[int, Address, int]]]]


ANY_FAMILY = 0

_sockaddrs = SockaddrCache()
_addresses = AddressCache()

# For what is received, which cost 20 us to make. Whoever uses some takes them
# out, so that no other thread or signal handler has the same.
_columns: list[Columns] = []
_MAX_COLUMNS = 4


# Without the C core a descriptor is borrowed by a socket object, and Ctrl-C in
# the midst of that would close it.
@trio.lowlevel.enable_ki_protection
def sendmmsg(fd: int, datagrams: Iterable[Datagram]) -> int:
    """Send up to 64 datagrams with one system call.

    Args:
      fd: A datagram socket.
      datagrams: ``(payload, address)`` pairs, or with a ``Metadata`` as a
        third item; an address is as for ``sendto``, with a numeric host, or
        ``None`` for the connected peer.
        Only the first 64 are offered: sendmmsg(2) may always stop early, and
        gains nothing from more.

    Returns:
      How many were sent. What stopped the call at one, the next call, with
      that one at its head, may tell (sendmmsg(2), BUGS).

    Raises:
      BlockingIOError: not even the first can be sent now.
      OSError: the first was refused, or the network has reported an error of
        an earlier one.
      TypeError, ValueError: one of the first 64 is impossible.
    """
    if type(fd) is not int:
        # The standard library takes None for a new socket.
        fd = as_integer(fd, "fd")
    listed = list(islice(datagrams, calls.MAX_MESSAGES))
    if not listed:
        return 0
    sent = _send_alike(fd, listed)
    if sent is None:
        queue = Datagrams(listed)
        try:
            sent = _send_columns(fd, queue)
        finally:
            # An error that is kept would keep its views.
            queue.clear()
    return sent


def _send_alike(fd: int, datagrams: list[Datagram]) -> int | None:
    """Send pairs of one size and address; return None if they are not.

    They are what most send, and are spared the columns: four of 1200 bytes
    over loopback take 8 us, and 28 with them.
    """
    first = datagrams[0]
    if type(first) is not tuple or len(first) != 2:
        return None
    data, address = first
    try:
        peer = _sockaddrs[address]
    except TypeError:
        # A list, say, which the long way names.
        return None
    if len(datagrams) == 1 and type(data) is bytes:
        calls.send_datagram(fd, data, peer)
        return 1
    batch = calls.pack_pairs(datagrams, address, peer, NO_SEGMENTATION)
    if batch is None:
        return None
    try:
        return calls.send_batch(fd, batch)
    finally:
        batch.give_back()


def _send_columns(fd: int, datagrams: Datagrams) -> int:
    """Send pairs of any kind."""
    payloads, addresses = datagrams._columns()
    controls: list[Control] | None = None
    if any(isinstance(address, Directed) for address in addresses):
        with borrowed_socket(fd) as sock:
            family = int(sock.family)
        controls = [
            encode_metadata(address.metadata, family)
            if isinstance(address, Directed)
            else ()
            for address in addresses
        ]
    return calls.send_datagrams(
        fd,
        b"".join(payloads),
        list(map(len, payloads)),
        [0] * len(payloads),
        [encode_address(undirected(address)) for address in addresses],
        (),
        controls,
    )


@trio.lowlevel.enable_ki_protection
def recvmmsg(
    fd: int, buffer: Any, slot_size: int
) -> list[tuple[int, Address, int]]:
    """Receive datagrams into a buffer with one system call.

    Args:
      fd: A datagram socket.
      buffer: A writable buffer, of which each datagram gets a slot; up to 64
        slots are offered.
      slot_size: Bytes a slot.

    Returns:
      ``(size, address, flags)`` for each datagram, at least one: the bytes
      that it had, which may be more than fit its slot; its sender, as from
      ``recvfrom``; and ``MSG_TRUNC`` where it was cut.

    Raises:
      BlockingIOError: there is none now.
      OSError: the call failed, or the network has reported an error.
      TypeError: ``fd`` or ``slot_size`` is no integer, or ``buffer`` no
        writable buffer.
      BufferError: ``buffer`` was released, or closed.
      ValueError: ``slot_size`` is not positive, or larger than the buffer.
    """
    if type(fd) is not int:
        fd = as_integer(fd, "fd")
    if type(slot_size) is not int:
        slot_size = as_integer(slot_size, "slot_size")
    try:
        columns = _columns.pop()
    except IndexError:
        columns = _make_columns()
    arena, facts = columns
    lent, slots = calls.lend(arena, buffer, slot_size)
    try:
        received = calls.receive_datagrams(fd, arena, slots)
    finally:
        calls.take_back(arena, lent)
    found = facts() if received else []
    if len(_columns) < _MAX_COLUMNS:
        _columns.append(columns)
    if not received:
        raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN))
    return found


def _make_columns() -> Columns:
    arena = Arena(calls.MAX_MESSAGES, ANY_FAMILY, 1, bytearray(1))
    return arena, teller(arena, _addresses)
