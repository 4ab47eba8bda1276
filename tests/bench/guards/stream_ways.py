"""Public calls on streams, and on groups of them; see ``ways``.

Names are looked up when they are called: a revision may lack some.
"""

# ruff: noqa: PLW0108

from __future__ import annotations

import os
import socket
import tempfile
from typing import IO, TYPE_CHECKING

import trio

import triobatch
from guards.ways import CHUNK, Way, at_once, repeated
from triobatch import BatchSocketStream, Buffers

if TYPE_CHECKING:
    from collections.abc import Callable

    from guards.operations import Place

LINE = bytes(CHUNK - 2) + b"\r\n"
PROXY = b"PROXY TCP4 192.0.2.1 192.0.2.2 40000 443\r\n"


def sending(
    call: Callable[..., object],
    wrapped: Callable[[BatchSocketStream], object] = lambda stream: stream,
):
    """Send so many chunks on a stream, or on what wraps it."""

    async def make(place: Place, count: int) -> Way:
        stream, far = place.stream()
        outer = wrapped(stream)
        chunks = [bytes(CHUNK)] * count
        return Way(lambda: call(outer, chunks), after_ours=place.drain(far))

    return make


def receiving(call: Callable[[BatchSocketStream, int], object]):
    """Receive so many chunks, which came together."""

    async def make(place: Place, count: int) -> Way:
        stream, far = place.stream()
        data = bytes(CHUNK * count)
        return Way(lambda: call(stream, len(data)), lambda: far.send(data))

    return make


def parsing(
    call: Callable[[triobatch.BufferedReceiveStream], object],
    message: bytes = LINE,
):
    """Take so many messages, which came together, one by one."""

    async def make(place: Place, count: int) -> Way:
        stream, far = place.stream()
        reader = triobatch.BufferedReceiveStream(stream)
        return Way(
            repeated(count, lambda: call(reader)),
            lambda: far.send(message * count),
        )

    return make


def split(view: memoryview) -> tuple[list[bytes], int]:
    """Return the messages of one size."""
    whole = len(view) // CHUNK * CHUNK
    return [
        bytes(view[start : start + CHUNK]) for start in range(0, whole, CHUNK)
    ], whole


async def receive_frames(place: Place, count: int) -> Way:
    """Take so many messages, which came together, at once."""
    stream, far = place.stream()
    reader = triobatch.BufferedReceiveStream(stream)
    return Way(
        lambda: reader.receive_frames(split), lambda: far.send(LINE * count)
    )


async def receive_into(place: Place, count: int) -> Way:
    """Fill a buffer with what came, by way of the reader's own."""
    stream, far = place.stream()
    reader = triobatch.BufferedReceiveStream(stream)
    room = bytearray(CHUNK * count)
    return Way(
        lambda: reader.receive_into(room), lambda: far.send(LINE * count)
    )


def file_in(place: Place, size: int) -> IO[bytes]:
    """Return a file of zeros."""
    file = tempfile.TemporaryFile()  # noqa: SIM115 (closed with the place)
    place.stack.enter_context(file)
    file.write(bytes(size))
    file.flush()
    return file


def of_file(call: Callable[[BatchSocketStream, object, int], object]):
    """Send a file of so many chunks."""

    async def make(place: Place, count: int) -> Way:
        stream, far = place.stream()
        file = file_in(place, CHUNK * count)
        return Way(
            lambda: call(stream, file, CHUNK * count),
            after_ours=place.drain(far),
        )

    return make


async def relay(place: Place, count: int) -> Way:
    """Hand on so many chunks, and both ends."""
    ends: list[socket.socket | BatchSocketStream] = []

    def open_pairs() -> None:
        streams = []
        for size in (CHUNK * count, 0):
            near, far = socket.socketpair()
            near.setblocking(False)
            far.send(bytes(size))
            far.shutdown(socket.SHUT_WR)
            streams.append(
                BatchSocketStream(trio.socket.from_stdlib_socket(near))
            )
            ends.append(far)
        ends.extend(streams)

    async def close_all() -> None:
        while ends:
            end = ends.pop()
            if isinstance(end, socket.socket):
                end.close()
            else:
                await end.aclose()

    return Way(lambda: triobatch.relay(*ends[-2:]), open_pairs, close_all)


def to_many(call: Callable[[list[BatchSocketStream], bytes], object]):
    """Send a message on so many streams."""

    async def make(place: Place, count: int) -> Way:
        pairs = [place.stream() for _ in range(count)]
        streams = [stream for stream, _ in pairs]
        message = bytes(CHUNK)
        return Way(
            lambda: call(streams, message),
            after_ours=place.drain(*(far for _, far in pairs)),
        )

    return make


async def _group(place: Place, count: int):
    group = await place.stack.enter_async_context(
        triobatch.open_stream_group()
    )
    pairs = [place.stream() for _ in range(count)]
    for stream, _ in pairs:
        group.add(stream)
    return group, pairs


async def receive_batch(place: Place, count: int) -> Way:
    """Receive from so many members."""
    group, pairs = await _group(place, count)

    def send() -> None:
        for _, far in pairs:
            far.send(LINE)

    return Way(group.receive_batch, send)


async def send_batch_nowait(place: Place, count: int) -> Way:
    """Send to so many members."""
    group, pairs = await _group(place, count)
    messages = [(stream, LINE) for stream, _ in pairs]
    return Way(
        at_once(lambda: group.send_batch_nowait(messages)),
        after_ours=place.drain(*(far for _, far in pairs)),
    )


async def flush_group(place: Place, count: int) -> Way:
    """Wait for nothing, in a group of so many members."""
    group, _ = await _group(place, count)
    return Way(group.flush)


async def read(place: Place, count: int) -> Way:
    """Take so many chunks out of a queue."""
    chunks = [bytes(CHUNK)] * count
    return Way(at_once(lambda: Buffers(chunks).read()))


async def readinto(place: Place, count: int) -> Way:
    """Take so many chunks out of a queue, into memory."""
    chunks = [bytes(CHUNK)] * count
    room = bytearray(CHUNK * count)
    return Way(at_once(lambda: Buffers(chunks).readinto(room)))


def _vectored(call: Callable[[int, list[bytearray]], object], *, reads: bool):
    """Use a pipe, and take or give the bytes at its other end."""

    async def make(place: Place, count: int) -> Way:
        out, into = os.pipe()
        place.stack.callback(os.close, out)
        place.stack.callback(os.close, into)
        chunks = [bytearray(CHUNK) for _ in range(count)]
        data = bytes(CHUNK * count)
        if reads:
            return Way(
                at_once(lambda: call(out, chunks)),
                lambda: os.write(into, data),
            )

        def take() -> None:
            os.read(out, len(data))

        return Way(at_once(lambda: call(into, chunks)), after_ours=take)

    return make


def _at_offset(call: Callable[[int, list[bytearray], int], object]):
    """Use a file."""

    async def make(place: Place, count: int) -> Way:
        file = file_in(place, CHUNK * count)
        chunks = [bytearray(CHUNK) for _ in range(count)]
        return Way(at_once(lambda: call(file.fileno(), chunks, 0)))

    return make


async def _nowait(stream: BatchSocketStream, chunks: list[bytes]) -> None:
    stream.send_buffers_nowait(chunks)


async def _broadcast_nowait(streams, message: bytes) -> None:
    triobatch.broadcast_nowait(streams, message)


WAYS = {
    "Buffers.read": read,
    "Buffers.readinto": readinto,
    "Buffers.write_to": sending(
        lambda stream, chunks: Buffers(chunks).write_to(stream)
    ),
    "BatchSocketStream.receive_into": receiving(
        lambda stream, size: stream.receive_into(bytearray(size))
    ),
    "BatchSocketStream.receive_some": receiving(
        lambda stream, size: stream.receive_some()
    ),
    "BatchSocketStream.send_all": sending(
        lambda stream, chunks: stream.send_all(b"".join(chunks))
    ),
    "BatchSocketStream.send_buffers(list)": sending(
        lambda stream, chunks: stream.send_buffers(chunks)
    ),
    "BatchSocketStream.send_buffers(Buffers)": sending(
        lambda stream, chunks: stream.send_buffers(Buffers(chunks))
    ),
    "BatchSocketStream.send_buffers_nowait": sending(_nowait),
    "BatchSocketStream.send_file": of_file(
        lambda stream, file, size: stream.send_file(file, 0, size)
    ),
    "BufferedReceiveStream.receive_exactly": parsing(
        lambda reader: reader.receive_exactly(CHUNK)
    ),
    "BufferedReceiveStream.receive_frames": receive_frames,
    "BufferedReceiveStream.receive_into": receive_into,
    "BufferedReceiveStream.receive_some": parsing(
        lambda reader: reader.receive_some(CHUNK)
    ),
    "BufferedReceiveStream.receive_until": parsing(
        lambda reader: reader.receive_until(b"\r\n", CHUNK)
    ),
    "BufferedReceiveStream.send_all": sending(
        lambda reader, chunks: reader.send_all(b"".join(chunks)),
        lambda stream: triobatch.BufferedReceiveStream(stream),
    ),
    "BufferedReceiveStream.send_buffers": sending(
        lambda reader, chunks: reader.send_buffers(chunks),
        lambda stream: triobatch.BufferedReceiveStream(stream),
    ),
    "StreamGroup.flush": flush_group,
    "StreamGroup.receive_batch": receive_batch,
    "StreamGroup.send_batch_nowait": send_batch_nowait,
    "broadcast": to_many(
        lambda streams, message: triobatch.broadcast(streams, message)
    ),
    "broadcast_nowait": to_many(_broadcast_nowait),
    "receive_proxy_header": parsing(
        lambda reader: triobatch.receive_proxy_header(reader), PROXY
    ),
    "relay": relay,
    "send_buffers": sending(
        lambda stream, chunks: triobatch.send_buffers(stream, chunks)
    ),
    "send_file": of_file(
        lambda stream, file, size: triobatch.send_file(stream, file, 0, size)
    ),
    "lowlevel.preadv": _at_offset(
        lambda *given: triobatch.lowlevel.preadv(*given)
    ),
    "lowlevel.pwritev": _at_offset(
        lambda *given: triobatch.lowlevel.pwritev(*given)
    ),
    "lowlevel.readv": _vectored(
        lambda *given: triobatch.lowlevel.readv(*given), reads=True
    ),
    "lowlevel.writev": _vectored(
        lambda *given: triobatch.lowlevel.writev(*given), reads=False
    ),
}
