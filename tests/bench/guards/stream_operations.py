"""Operations on streams: see ``operations``."""

from __future__ import annotations

from typing import TYPE_CHECKING

from guards.operations import Operation, Place
from triobatch import Buffers, broadcast, open_batch_sender

if TYPE_CHECKING:
    from triobatch import BatchSocketStream

CLIENTS = 50
MESSAGES = 500


def lists(place: Place, count: int, size: int, **cost) -> Operation:
    """Send a list of chunks, beside joining and sending them."""
    chunks = [bytes(size) for _ in range(count)]
    stream, far = place.stream()
    near, other_far = place.pair()
    return Operation(
        f"send_buffers(list), {count} x {size} B",
        ours=lambda: stream.send_buffers(chunks),
        theirs=lambda: near.sendall(b"".join(chunks)),
        after_ours=place.drain(far),
        after_theirs=place.drain(other_far),
        **cost,
    )


def queues(place: Place, count: int, size: int, **cost) -> Operation:
    """Send a ``Buffers``, beside sendmsg(2) with the list."""
    chunks = [bytes(size) for _ in range(count)]
    stream, far = place.stream()
    near, other_far = place.pair()
    return Operation(
        f"send_buffers(Buffers), {count} x {size} B",
        ours=lambda: stream.send_buffers(Buffers(chunks)),
        theirs=lambda: near.sendmsg(chunks),
        after_ours=place.drain(far),
        after_theirs=place.drain(other_far),
        **cost,
    )


def without_waiting(place: Place, count: int, size: int, **cost) -> Operation:
    """Send what fits now, beside joining and sending."""
    chunks = [bytes(size) for _ in range(count)]
    stream, far = place.stream()
    near, other_far = place.pair()

    async def send() -> None:
        stream.send_buffers_nowait(Buffers(chunks))

    return Operation(
        f"send_buffers_nowait, {count} x {size} B",
        ours=send,
        theirs=lambda: near.send(b"".join(chunks)),
        after_ours=place.drain(far),
        after_theirs=place.drain(other_far),
        **cost,
    )


def to_many(place: Place, **cost) -> Operation:
    """Send one message to many streams, beside a loop."""
    message = bytes(200)
    pairs = [place.stream() for _ in range(CLIENTS)]
    streams: list[BatchSocketStream] = [stream for stream, _ in pairs]
    others = [place.pair() for _ in range(CLIENTS)]

    def send_each() -> None:
        for near, _ in others:
            near.send(message)

    return Operation(
        f"broadcast, 200 B to {CLIENTS}",
        ours=lambda: broadcast(streams, message),
        theirs=send_each,
        after_ours=place.drain(*(far for _, far in pairs)),
        after_theirs=place.drain(*(far for _, far in others)),
        **cost,
    )


async def through_sender(place: Place, **cost) -> Operation:
    """Queue messages and flush, beside sending each."""
    message = bytes(64)
    stream, far = place.stream()
    near, other_far = place.pair()
    sender = await place.stack.enter_async_context(open_batch_sender(stream))

    async def send() -> None:
        for _ in range(MESSAGES):
            sender.send_nowait(message)
        await sender.flush()

    def send_each() -> None:
        for _ in range(MESSAGES):
            near.send(message)

    return Operation(
        f"BatchSender, {MESSAGES} x 64 B",
        ours=send,
        theirs=send_each,
        after_ours=place.drain(far),
        after_theirs=place.drain(other_far),
        **cost,
    )


async def stream_operations(place: Place) -> list[Operation]:
    """Return them, with what each may cost."""
    # A checkpoint is an epoll_wait(2).
    one_send = {"sendto": 1, "epoll_wait": 1}
    gathered = {"sendmsg": 1, "epoll_wait": 1}
    to_each = {"sendto": CLIENTS, "epoll_wait": 1}
    # The messages wake the sending task; it wakes the one that flushes.
    together = {"sendto": 1, "epoll_wait": 3}
    return [
        lists(place, 256, 64, calls=one_send, ratio=7, peak=2_000),
        lists(place, 64, 1024, calls=one_send, ratio=6, peak=2_000),
        queues(place, 1024, 64, calls=one_send, ratio=2.5, peak=10_000),
        queues(place, 8, 16_384, calls=gathered, ratio=7, peak=2_000),
        without_waiting(
            place, 256, 64, calls={"sendto": 1}, ratio=6, peak=3_500
        ),
        to_many(place, calls=to_each, ratio=5, peak=7_500),
        await through_sender(place, calls=together, ratio=1, peak=15_000),
    ]
