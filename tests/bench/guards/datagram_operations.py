"""Operations on datagrams: see ``operations``."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from guards.operations import BLOCK, COUNT, SIZE, Operation, Place
from triobatch import DatagramErrorGroup

if TYPE_CHECKING:
    import socket


# So many that what a call costs by itself is nothing.
REFUSED = 1000


def to_one(place: Place, **cost) -> Operation:
    """Send a batch to one address, beside a loop."""
    payloads = [bytes(SIZE) for _ in range(COUNT)]
    sock, near = place.batches(), place.datagrams()
    far, other_far = place.datagrams(), place.datagrams()
    address = far.getsockname()
    near.connect(other_far.getsockname())

    def send_each() -> None:
        for payload in payloads:
            near.send(payload)

    return Operation(
        f"send_many, {COUNT} x {SIZE} B",
        ours=lambda: sock.send_many(payloads, address),
        theirs=send_each,
        after_ours=place.drain(far),
        after_theirs=place.drain(other_far),
        **cost,
    )


def to_many(place: Place, **cost) -> Operation:
    """Send one datagram to each of many addresses, beside a loop."""
    payload = bytes(SIZE)
    sock, near = place.batches(), place.datagrams()
    fars = [place.datagrams() for _ in range(COUNT)]
    pairs = [(payload, far.getsockname()) for far in fars]

    def send_each() -> None:
        for data, address in pairs:
            near.sendto(data, address)

    return Operation(
        f"send_batch, {SIZE} B to {COUNT}",
        ours=lambda: sock.send_batch(pairs),
        theirs=send_each,
        after_ours=place.drain(*fars),
        after_theirs=place.drain(*fars),
        **cost,
    )


def block(place: Place, **cost) -> Operation:
    """Send a block in segments, beside a loop."""
    data = bytes(SIZE * BLOCK)
    view = memoryview(data)
    sock, near = place.batches(), place.datagrams()
    far, other_far = place.datagrams(), place.datagrams()
    address = far.getsockname()
    near.connect(other_far.getsockname())

    def send_each() -> None:
        for start in range(0, len(view), SIZE):
            near.send(view[start : start + SIZE])

    return Operation(
        f"send_segments, {BLOCK} x {SIZE} B",
        ours=lambda: sock.send_segments(data, SIZE, address),
        theirs=send_each,
        after_ours=place.drain(far),
        after_theirs=place.drain(other_far),
        **cost,
    )


async def _supply(place: Place, far: socket.socket, count: int):
    """Return what sends ``count`` datagrams to ``far``, segmented."""
    source = place.batches()
    data = bytes(SIZE * count)
    address = far.getsockname()
    return lambda: source.send_segments_nowait(data, SIZE, address)


async def receive(place: Place, **cost) -> Operation:
    """Receive a batch that is there, beside a loop."""
    sock, near = place.batches(), place.datagrams()

    def receive_each() -> None:
        for _ in range(COUNT):
            near.recvfrom(65536)

    async def receive_batch() -> list:
        datagrams = []
        while len(datagrams) < COUNT:
            datagrams += await sock.receive_batch()
        return datagrams

    return Operation(
        f"receive_batch, {COUNT} x {SIZE} B",
        ours=receive_batch,
        theirs=receive_each,
        before_ours=await _supply(place, sock.socket, COUNT),
        before_theirs=await _supply(place, near, COUNT),
        **cost,
    )


async def echo(place: Place, **cost) -> Operation:
    """Answer each datagram that is there, beside a loop."""
    sock, near = place.batches(), place.datagrams()
    client, other_client = place.datagrams(), place.datagrams()
    payload = bytes(SIZE)

    def ask(own: socket.socket, address):
        def send() -> None:
            for _ in range(COUNT):
                own.sendto(payload, address)

        return send

    def answer_each() -> None:
        for _ in range(COUNT):
            near.sendto(*near.recvfrom(65536))

    async def answer_batches() -> None:
        answered = 0
        while answered < COUNT:
            answered += await sock.send_batch(await sock.receive_batch())

    return Operation(
        f"echo, {COUNT} x {SIZE} B",
        ours=answer_batches,
        theirs=answer_each,
        before_ours=ask(client, sock.socket.getsockname()),
        after_ours=place.drain(client),
        before_theirs=ask(other_client, near.getsockname()),
        after_theirs=place.drain(other_client),
        **cost,
    )


def refused(place: Place, **cost) -> Operation:
    """Send to where nothing can be sent to, beside doing that."""
    sock, near = place.batches(), place.datagrams()
    pairs = [(b"x", ("127.0.0.1", 0))] * REFUSED

    async def send_batch() -> None:
        with contextlib.suppress(DatagramErrorGroup):
            await sock.send_batch(pairs)

    def send_each() -> None:
        for payload, address in pairs:
            with contextlib.suppress(OSError):
                near.sendto(payload, address)

    return Operation(
        f"send_batch, {REFUSED} refused datagrams",
        ours=send_batch,
        theirs=send_each,
        **cost,
    )


def lone(place: Place, **cost) -> Operation:
    """Send one datagram, beside doing that."""
    payload = bytes(SIZE)
    sock, near = place.batches(), place.datagrams()
    far, other_far = place.datagrams(), place.datagrams()
    address, other_address = far.getsockname(), other_far.getsockname()
    return Operation(
        f"send, {SIZE} B",
        ours=lambda: sock.send(payload, address),
        theirs=lambda: near.sendto(payload, other_address),
        after_ours=place.drain(far),
        after_theirs=place.drain(other_far),
        **cost,
    )


async def datagram_operations(place: Place) -> list[Operation]:
    """Return them, with what each may cost."""
    # A checkpoint is an epoll_wait(2).
    send = {"sendmmsg": 1, "epoll_wait": 1}
    taken = {"recvmmsg": 1, "epoll_wait": 1}
    answered = {"recvmmsg": 1, "sendmmsg": 1, "epoll_wait": 2}
    return [
        lone(place, calls={"sendto": 1, "epoll_wait": 1}, ratio=8, peak=2_000),
        to_one(place, calls=send, ratio=0.7, peak=2_200),
        to_many(place, calls=send, ratio=3, peak=93_500),
        block(place, calls=send, ratio=0.5, peak=3_000),
        refused(
            place,
            calls={"sendmmsg": REFUSED + 1, "epoll_wait": 1},
            ratio=2,
            peak=340_000,
        ),
        await receive(place, calls=taken, ratio=0.8, peak=85_500),
        await echo(place, calls=answered, ratio=1.2, peak=86_500),
    ]
