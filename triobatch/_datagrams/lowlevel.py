"""sendmmsg(2) and recvmmsg(2) themselves: one call, no wait, no loop."""

from __future__ import annotations

import errno
import os
from itertools import islice, repeat
from typing import TYPE_CHECKING, Any

import trio

from triobatch._core import calls
from triobatch._core.arena import MSG_TRUNC, Arena
from triobatch._core.borrowed_socket import borrowed_socket
from triobatch._core.datagram_lists import rows_of
from triobatch._datagrams.gso import NO_SEGMENTATION
from triobatch._queues.datagrams import Datagrams, Directed, undirected
from triobatch._wire.addresses import (
    Address,
    AddressCache,
    SockaddrCache,
    encode_address,
)
from triobatch._wire.arguments import as_integer
from triobatch._wire.metadata import encode_metadata

if TYPE_CHECKING:
    from collections.abc import Iterable

    from triobatch._queues.datagrams import Datagram
    from triobatch._wire.control import Control

ANY_FAMILY = 0

_sockaddrs = SockaddrCache()
_addresses = AddressCache()

# Columns for what is received, which cost 20 us to make. Whoever uses some
# takes them out, so that no other thread or signal handler has the same.
_arenas: list[Arena] = []
_ARENAS = 4


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
    return _send_columns(fd, Datagrams(listed)) if sent is None else sent


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
      TypeError: ``fd`` or ``slot_size`` is no integer.
      ValueError: ``slot_size`` is not positive, or larger than the buffer.
    """
    if type(fd) is not int:
        fd = as_integer(fd, "fd")
    if type(slot_size) is not int:
        slot_size = as_integer(slot_size, "slot_size")
    memory = memoryview(buffer).cast("B")
    room = len(memory)
    if not 0 < slot_size <= room:
        # Or the buffer stays exported as long as the error is kept.
        memory.release()
        raise ValueError(f"slot_size must be in 1..{room}, not {slot_size}")
    slots = min(len(memory) // slot_size, calls.MAX_MESSAGES)
    try:
        arena = _arenas.pop()
    except IndexError:
        arena = Arena(calls.MAX_MESSAGES, ANY_FAMILY, 1, bytearray(1))
    lent = calls.lend(arena, memory, slot_size)
    try:
        received = calls.receive_datagrams(fd, arena, slots)
    finally:
        calls.take_back(arena, lent)
        memory.release()
    if not received:
        _keep(arena)
        raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN))
    flags = arena.flags[:received]
    facts = list(
        zip(
            arena.sizes[:received],
            _senders(arena, received),
            [flag & MSG_TRUNC for flag in flags] if any(flags) else repeat(0),
            strict=False,
        )
    )
    _keep(arena)
    return facts


def _senders(arena: Arena, count: int) -> Iterable[Address]:
    sizes = arena.name_sizes[:count]
    room = arena.name_size
    if count > 1 and sizes[0] <= room and sizes.count(sizes[0]) == count:
        names = rows_of(arena.names, sizes, room, 0, count)
        return map(_addresses.__getitem__, names)
    return [_addresses[arena.name(slot)] for slot in range(count)]


def _keep(arena: Arena) -> None:
    if len(_arenas) < _ARENAS:
        _arenas.append(arena)
