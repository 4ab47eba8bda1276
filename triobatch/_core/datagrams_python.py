"""The datagram calls of the C core, on the standard ``socket`` module.

For platforms and interpreters without the C core: one system call a message
where the C core makes one a batch, and the same results. Segmentation works
here too, as it needs no more than a control message.
"""

from __future__ import annotations

import errno
import os
import socket
import sys
from functools import lru_cache, partial
from itertools import accumulate, repeat
from typing import TYPE_CHECKING, Any

from triobatch._core.arena import MSG_TRUNC, Arena, slot_size_error
from triobatch._core.borrowed_socket import borrowed_socket
from triobatch._core.bsd_sendto import sendto
from triobatch._core.flags import MSG_DONTWAIT, MSG_NOSIGNAL
from triobatch._core.tries import Tried, try_each
from triobatch._wire.addresses import (
    AF_INET,
    AF_INET6,
    SOCKADDR_UN_SIZE,
    SockaddrCache,
    decode_address,
    family_of,
)
from triobatch._wire.control import (
    SOL_UDP,
    UDP_GRO,
    UDP_SEGMENT,
    Control,
    ControlMessage,
    pack_control,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

MAX_MESSAGES = 64

_LINUX = sys.platform == "linux"
_SEND_FLAGS = MSG_DONTWAIT | MSG_NOSIGNAL
# Linux alone answers it with the size before the cut. What asks for it on
# macOS is told of every datagram that it was cut: recvmsg(2) gives the flags
# back that it was called with (soreceive() in bsd/kern/uipc_socket.c).
_RECEIVE_FLAGS = MSG_DONTWAIT | (
    getattr(socket, "MSG_TRUNC", 0) if _LINUX else 0
)
_HAS_RECVMSG = hasattr(socket.socket, "recvmsg_into")
_WSAEMSGSIZE = 10040

# What a call of the socket module can raise; an address that it does not take
# is one of the last two. Behind the first message it only ends a batch.
_FAILURES = (OSError, ValueError, OverflowError)

# Safe to share between threads: what is missing is computed again.
_sockaddrs = SockaddrCache()


def send_datagrams(
    fd: int,
    payload: bytes | memoryview,
    sizes: Sequence[int],
    segment_sizes: Sequence[int],
    peers: Sequence[bytes],
    control: Control = (),
    controls: Sequence[Control] | None = None,
) -> int:
    """Send messages one by one; see ``datagrams_c``."""
    sizes = sizes[:MAX_MESSAGES]
    peers, controls = _columns(len(payload), sizes, peers, control, controls)
    sent = start = 0
    with borrowed_socket(fd) as sock, memoryview(payload) as view:
        family = int(sock.family)
        for size, segment_size, peer, own in zip(
            sizes, segment_sizes, peers, controls, strict=False
        ):
            ancillary = _with_segment_size(own, segment_size)
            try:
                data = view[start : start + size]
                _send(sock, family, data, ancillary, peer)
            except _FAILURES:
                if sent:
                    break
                raise
            sent += 1
            start += size
    return sent


def send_past(
    fd: int,
    payloads: Sequence[bytes | memoryview],
    sizes: Sequence[int],
    segment_sizes: Sequence[int],
    peers: Sequence[bytes],
    control: Control,
    tries: bytes,
    controls: Sequence[Control] | None = None,
) -> Tried:
    """Send messages one by one, past the refused; see ``datagrams_c``."""
    sizes = sizes[:MAX_MESSAGES]
    given = list(map(len, payloads))
    peers, controls = _columns(sum(given), sizes, peers, control, controls)
    parts = payloads
    if given != sizes:
        joined = b"".join(payloads)
        parts = [
            joined[end - size : end]
            for size, end in zip(sizes, accumulate(sizes), strict=True)
        ]
    with borrowed_socket(fd) as sock:
        family = int(sock.family)
        plain = not (any(controls) or any(segment_sizes))
        destinations = _destinations(family, peers) if plain else ()
        send: Callable[..., object]
        messages: Iterable[tuple[Any, ...]]
        if destinations:
            # The common case, without two frames for each.
            send = sock.sendto if _LINUX else partial(sendto, sock)
            messages = zip(
                parts, repeat(_SEND_FLAGS), destinations, strict=False
            )
        else:
            send = partial(_send, sock, family)
            ancillaries = map(_with_segment_size, controls, segment_sizes)
            messages = zip(parts, ancillaries, peers, strict=False)
        return try_each(send, list(messages), segment_sizes, tries)


def _with_segment_size(
    control: Control, segment_size: int
) -> list[ControlMessage]:
    if not segment_size:
        return list(control)
    packed = segment_size.to_bytes(2, sys.byteorder)
    return [*control, (SOL_UDP, UDP_SEGMENT, packed)]


def send_segments(
    fd: int,
    data: bytes | memoryview,
    segment_size: int,
    run_size: int,
    peer: bytes,
    control: Control = (),
) -> int:
    """Send messages of one size one by one; see ``datagrams_c``."""
    most = min(len(data), MAX_MESSAGES * run_size)
    starts = range(0, most, run_size)
    sizes = [min(run_size, most - start) for start in starts]
    sent = send_datagrams(
        fd,
        data,
        sizes,
        [segment_size if size > segment_size else 0 for size in sizes],
        [peer],
        control,
    )
    return sum(sizes[:sent])


def send_datagram(fd: int, data: bytes, peer: bytes) -> None:
    """Send one datagram; see ``datagrams_c``."""
    with borrowed_socket(fd) as sock, memoryview(data) as view:
        _send(sock, int(sock.family), view, [], peer)


def send_runs(
    fd: int,
    runs: Sequence[bytes | memoryview],
    segment_sizes: Sequence[int],
    peer: bytes,
    control: Control = (),
) -> int:
    """Send messages from where they lie, one by one; see ``datagrams_c``."""
    sent = 0
    with borrowed_socket(fd) as sock:
        family = int(sock.family)
        for run, segment_size in zip(
            runs[:MAX_MESSAGES], segment_sizes, strict=False
        ):
            ancillary = _with_segment_size(control, segment_size)
            try:
                _send(sock, family, run, ancillary, peer)
            except _FAILURES:
                if sent:
                    break
                raise
            sent += 1
    return sent


def _columns(
    payload_size: int,
    sizes: Sequence[int],
    peers: Sequence[bytes],
    control: Control,
    controls: Sequence[Control] | None,
) -> tuple[Sequence[bytes], Sequence[Control]]:
    """Return a peer and the control messages for each message."""
    count = len(sizes)
    if len(peers) == 1:
        peers = list(peers) * count
    if controls is None:
        controls = [control] * count
    elif len(controls) == 1:
        controls = list(controls) * count
    if sum(sizes) > payload_size or min(len(peers), len(controls)) < count:
        raise _error(errno.EINVAL)
    return peers, controls


def _send(
    sock: socket.socket,
    family: int,
    payload: bytes | memoryview,
    ancillary: list[ControlMessage],
    peer: bytes,
) -> None:
    if not peer:
        if ancillary:
            sock.sendmsg([payload], ancillary, _SEND_FLAGS)
        elif _LINUX:
            sock.send(payload, _SEND_FLAGS)
        else:
            sendto(sock, payload, _SEND_FLAGS, None)
        return
    address = _destination(family, peer)
    if ancillary:
        sock.sendmsg([payload], ancillary, _SEND_FLAGS, address)
    elif _LINUX:
        sock.sendto(payload, _SEND_FLAGS, address)
    else:
        sendto(sock, payload, _SEND_FLAGS, address)


@lru_cache(maxsize=4096)
def _destination(own: int, peer: bytes) -> tuple[Any, ...] | str | bytes:
    """Return the address, or raise what Linux says to a wrong family.

    The standard library would raise an error of its own there.
    """
    family, address = family_of(peer), decode_address(peer)
    if own == AF_INET6 and family == AF_INET and isinstance(address, tuple):
        return f"::ffff:{address[0]}", address[1]
    if own == AF_INET and family == AF_INET6:
        raise _error(errno.EAFNOSUPPORT)
    if own != family:
        raise _error(errno.EINVAL)
    assert address is not None
    if isinstance(address, str) and len(peer) == SOCKADDR_UN_SIZE:
        # The kernel takes a path without a zero byte at its end, and the
        # standard library does not.
        raise _error(errno.ENAMETOOLONG)
    return address


def _destinations(
    own: int, peers: Sequence[bytes]
) -> list[tuple[Any, ...] | str | bytes]:
    """Return the addresses, or none if one of them is none."""
    if b"" in peers:
        return []
    try:
        known = {peer: _destination(own, peer) for peer in set(peers)}
    except OSError:
        return []
    return [known[peer] for peer in peers]


def receive_datagrams(fd: int, arena: Arena, count: int) -> int:
    """Fill slots one by one; see ``datagrams_c``."""
    received = 0
    with borrowed_socket(fd) as sock, memoryview(arena.memory) as memory:
        for slot in range(min(count, arena.slots)):
            start = slot * arena.slot_size
            try:
                with memory[start : start + arena.slot_size] as room:
                    _receive(sock, arena, slot, room)
            except BlockingIOError:
                break
            except _FAILURES:
                # It will be met again, except for an error that the network
                # has reported; that one is about an earlier datagram.
                if received:
                    break
                raise
            received += 1
    if received:
        arena.note_filled(received)
    return received


def lend(arena: Arena, buffer: Any, slot_size: int) -> tuple[Any, int]:
    """Have the slots in other memory; see ``datagrams_c``."""
    try:
        memory = memoryview(buffer)
        if (memory.ndim, memory.format, memory.c_contiguous) != (1, "B", True):
            # PyPy's recvmsg_into fills no part of what was cast.
            memory = memory.cast("B")
    except TypeError as error:
        raise TypeError(f"buffer: {error}") from None
    except ValueError as error:
        # A view that was released, a mapping that was closed.
        raise BufferError(f"buffer has no bytes to give: {error}") from None
    room = len(memory)
    wrong = memory.readonly
    if wrong or not 0 < slot_size <= room:
        # Or the buffer stays exported as long as the error is kept.
        memory.release()
        if wrong:
            raise TypeError("buffer: it is read-only")
        raise slot_size_error(slot_size, room)
    arena.memory = memory
    arena.slot_size = slot_size
    return memory, room // slot_size


def take_back(arena: Arena, lent: Any) -> None:
    """End what ``lend`` began, and the export of the memory with it."""
    arena.memory = b""
    lent.release()


def _receive(
    sock: socket.socket, arena: Arena, slot: int, room: memoryview
) -> None:
    flags = 0
    control: list[ControlMessage] = []
    if _HAS_RECVMSG:
        size, control, flags, address = sock.recvmsg_into(
            [room], arena.control_size, _RECEIVE_FLAGS
        )
    else:
        try:
            size, address = sock.recvfrom_into(room)
        except OSError as exc:
            if exc.errno != _WSAEMSGSIZE:
                raise
            size, flags, address = len(room) + 1, MSG_TRUNC, None
    if flags & getattr(socket, "MSG_TRUNC", MSG_TRUNC):
        flags = MSG_TRUNC
        if not _LINUX:
            # How large it was is not told.
            size = max(size, len(room) + 1)
    arena.describe(
        slot,
        size,
        flags,
        _sockaddrs[address],
        pack_control(tuple(control)),
        _segment_size(control),
    )


def _segment_size(control: Sequence[ControlMessage]) -> int:
    for level, kind, data in control:
        if (level, kind) == (SOL_UDP, UDP_GRO):
            return int.from_bytes(data[:4], sys.byteorder)
    return 0


def _error(number: int) -> OSError:
    return OSError(number, os.strerror(number))
