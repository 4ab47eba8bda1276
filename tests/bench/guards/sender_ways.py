"""Public calls of batch senders and shared streams; see ``ways``.

What is sent by another task is waited for, so that its part is in it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import triobatch
from guards.operations import SIZE, Place
from guards.ways import CHUNK, Way, at_once

if TYPE_CHECKING:
    from collections.abc import Callable


async def _sender(place: Place):
    stream, far = place.stream()
    sender = await place.stack.enter_async_context(
        triobatch.open_batch_sender(stream)
    )
    return sender, place.drain(far)


async def _datagram_sender(place: Place):
    far = place.datagrams()
    sender = await place.stack.enter_async_context(
        triobatch.open_batch_sender(place.batches())
    )
    return sender, far.getsockname(), place.drain(far)


async def _shared(place: Place):
    stream, far = place.stream()
    shared = await place.stack.enter_async_context(
        triobatch.open_shared_stream(stream)
    )
    return shared, far


async def send_nowait(place: Place, count: int) -> Way:
    """Queue so many messages; they are sent afterwards."""
    sender, drain = await _sender(place)
    message = bytes(CHUNK)

    async def finish() -> None:
        await sender.flush()
        drain()

    def queue() -> None:
        for _ in range(count):
            sender.send_nowait(message)

    return Way(at_once(queue), after_ours=finish)


async def send(place: Place, count: int) -> Way:
    """Send so many messages, one after another."""
    sender, drain = await _sender(place)
    message = bytes(CHUNK)

    async def ours() -> None:
        for _ in range(count):
            await sender.send(message)
        await sender.flush()

    return Way(ours, after_ours=drain)


async def flush(place: Place, count: int) -> Way:
    """Send so many messages that are queued."""
    sender, drain = await _sender(place)

    def queue() -> None:
        for _ in range(count):
            sender.send_nowait(bytes(CHUNK))

    return Way(sender.flush, queue, drain)


def datagrams(call: Callable[..., object]):
    """Send so many datagrams, one after another."""

    async def make(place: Place, count: int) -> Way:
        sender, address, drain = await _datagram_sender(place)
        payload = bytes(SIZE)

        async def ours() -> None:
            for _ in range(count):
                await call(sender, payload, address)
            await sender.flush()

        return Way(ours, after_ours=drain)

    return make


async def datagrams_nowait(place: Place, count: int) -> Way:
    """Queue so many datagrams; they are sent afterwards."""
    sender, address, drain = await _datagram_sender(place)
    payload = bytes(SIZE)

    async def finish() -> None:
        await sender.flush()
        drain()

    def queue() -> None:
        for _ in range(count):
            sender.send_nowait(payload, address)

    return Way(at_once(queue), after_ours=finish)


async def datagram_batch(place: Place, count: int) -> Way:
    """Send so many datagrams at once."""
    sender, address, drain = await _datagram_sender(place)
    pairs = [(bytes(SIZE), address)] * count
    return Way(lambda: sender.send_batch(pairs), after_ours=drain)


async def flush_datagrams(place: Place, count: int) -> Way:
    """Send so many datagrams that are queued."""
    sender, address, drain = await _datagram_sender(place)

    def queue() -> None:
        for _ in range(count):
            sender.send_nowait(bytes(SIZE), address)

    return Way(sender.flush, queue, drain)


def shared(call: Callable[..., object]):
    """Send so many chunks on a shared stream."""

    async def make(place: Place, count: int) -> Way:
        stream, far = await _shared(place)
        chunks = [bytes(CHUNK)] * count

        async def ours() -> None:
            await call(stream, chunks)
            await stream.sender.flush()

        return Way(ours, after_ours=place.drain(far))

    return make


async def shared_receiving(place: Place, count: int) -> Way:
    """Receive so many chunks, which came together."""
    stream, far = await _shared(place)
    data = bytes(CHUNK * count)
    return Way(stream.receive_some, lambda: far.send(data))


async def _queue_nowait(stream, chunks: list[bytes]) -> None:
    for chunk in chunks:
        stream.queue_nowait(chunk)


WAYS = {
    "BatchSender.flush": flush,
    "BatchSender.send": send,
    "BatchSender.send_nowait": send_nowait,
    "DatagramBatchSender.flush": flush_datagrams,
    "DatagramBatchSender.queue": datagrams(
        lambda sender, *datagram: sender.queue(*datagram)
    ),
    "DatagramBatchSender.send": datagrams(
        lambda sender, *datagram: sender.send(*datagram)
    ),
    "DatagramBatchSender.send_batch": datagram_batch,
    "DatagramBatchSender.send_nowait": datagrams_nowait,
    "SharedStream.queue_nowait": shared(_queue_nowait),
    "SharedStream.receive_some": shared_receiving,
    "SharedStream.send_all": shared(
        lambda stream, chunks: stream.send_all(b"".join(chunks))
    ),
    "SharedStream.send_buffers": shared(
        lambda stream, chunks: stream.send_buffers(chunks)
    ),
}
