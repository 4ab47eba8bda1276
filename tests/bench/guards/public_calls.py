"""What a public call costs by itself: Python frames and system calls.

Where there is one item, or there are four, neither the kernel nor the memory
is what takes the time, but the Python functions on the way. So their number
is limited, for 1, 4, 16 and 64 items, exactly: there is no noise in it, and no
busy machine. Waits are no part of it: there is room, or something is there.

The limits are what was counted when they were set, so one frame more fails.
Work that makes a call cheaper lowers them, in the same commit: run
``guard.py``, which prints what it counts beside what is allowed, and write
that down here. To raise one, say in the commit what the new frame is for.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from guards.operations import SIZE, Place, nothing
from triobatch import lowlevel

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

ITEMS = (1, 4, 16, 64)
CHUNK = 64

# Frames of ours, and system calls, with so many items as ITEMS says. A
# checkpoint is one system call.
LIMITS: dict[str, tuple[tuple[int, ...], tuple[int, ...]]] = {
    "send_buffers(list)": ((8, 8, 8, 8), (2, 2, 2, 2)),
    "send_all": ((8, 8, 8, 8), (2, 2, 2, 2)),
    "receive_some": ((6, 6, 6, 6), (2, 2, 2, 2)),
    "send": ((9, 36, 144, 576), (2, 8, 32, 128)),
    "send_many": ((18, 18, 18, 18), (2, 2, 2, 2)),
    "send_batch": ((16, 16, 16, 16), (2, 2, 2, 2)),
    "receive": ((9, 30, 114, 450), (2, 5, 17, 65)),
    "receive_batch": ((12, 12, 12, 12), (2, 2, 2, 2)),
    "lowlevel.sendmmsg": ((3, 6, 6, 6), (1, 1, 1, 1)),
    "lowlevel.recvmmsg": ((8, 7, 7, 7), (1, 1, 1, 1)),
}


@dataclass(frozen=True)
class PublicCall:
    """A call with so many items; ``frames`` and ``system_calls`` at most."""

    name: str
    ours: Callable[[], Awaitable[Any]]
    frames: int
    system_calls: int
    before_ours: Callable[[], object] = nothing
    after_ours: Callable[[], object] = nothing


def public_calls(place: Place) -> list[PublicCall]:
    """Return each public call with each number of items."""
    ways = {
        "send_buffers(list)": _send_buffers,
        "send_all": _send_all,
        "receive_some": _receive_some,
        "send": _send,
        "send_many": _send_many,
        "send_batch": _send_batch,
        "receive": _receive,
        "receive_batch": _receive_batch,
        "lowlevel.sendmmsg": _sendmmsg,
        "lowlevel.recvmmsg": _recvmmsg,
    }
    calls = []
    for name, way in ways.items():
        frames, system_calls = LIMITS[name]
        for index, count in enumerate(ITEMS):
            ours, before, after = way(place, count)
            calls.append(
                PublicCall(
                    f"{name}, {count}",
                    ours,
                    frames[index],
                    system_calls[index],
                    before,
                    after,
                )
            )
    return calls


def _send_buffers(place: Place, count: int):
    stream, far = place.stream()
    chunks = [bytes(CHUNK)] * count
    return (lambda: stream.send_buffers(chunks)), nothing, place.drain(far)


def _send_all(place: Place, count: int):
    stream, far = place.stream()
    data = bytes(CHUNK * count)
    return (lambda: stream.send_all(data)), nothing, place.drain(far)


def _receive_some(place: Place, count: int):
    stream, far = place.stream()
    data = bytes(CHUNK * count)
    return stream.receive_some, (lambda: far.send(data)), nothing


def _addressed(place: Place):
    far = place.datagrams()
    return place.batches(), far.getsockname(), place.drain(far)


def _send(place: Place, count: int):
    sock, address, drain = _addressed(place)
    payload = bytes(SIZE)

    async def send() -> None:
        for _ in range(count):
            await sock.send(payload, address)

    return send, nothing, drain


def _send_many(place: Place, count: int):
    sock, address, drain = _addressed(place)
    payloads = [bytes(SIZE)] * count
    return (lambda: sock.send_many(payloads, address)), nothing, drain


def _send_batch(place: Place, count: int):
    sock, address, drain = _addressed(place)
    pairs = [(bytes(SIZE), address)] * count
    return (lambda: sock.send_batch(pairs)), nothing, drain


def _supply(place: Place, count: int):
    """Return a socket of ours, and what has ``count`` datagrams sent to it."""
    sock, near = place.batches(), place.datagrams()
    address = sock.socket.getsockname()

    def send() -> None:
        for _ in range(count):
            near.sendto(bytes(SIZE), address)

    return sock, send


def _receive(place: Place, count: int):
    sock, supply = _supply(place, count)

    async def receive() -> None:
        for _ in range(count):
            await sock.receive()

    return receive, supply, nothing


def _receive_batch(place: Place, count: int):
    sock, supply = _supply(place, count)
    return sock.receive_batch, supply, nothing


def _sendmmsg(place: Place, count: int):
    sock, address, drain = _addressed(place)
    pairs = [(bytes(SIZE), address)] * count
    fd = sock.socket.fileno()

    async def send() -> None:
        lowlevel.sendmmsg(fd, pairs)

    return send, nothing, drain


def _recvmmsg(place: Place, count: int):
    sock, supply = _supply(place, count)
    room = bytearray(SIZE * count)
    fd = sock.socket.fileno()

    async def receive() -> None:
        lowlevel.recvmmsg(fd, room, SIZE)

    return receive, supply, nothing
