"""What a type checker makes of streams; ``.ci/types`` runs it, nobody else."""

# pyright: strict, reportUnnecessaryTypeIgnoreComment=true

from __future__ import annotations

import tempfile
from typing import IO, TYPE_CHECKING, cast

import trio
from typing_extensions import assert_type

import triobatch
from triobatch import (
    BatchHandler,
    BatchSender,
    BatchSocketListener,
    BatchSocketStream,
    BroadcastResult,
    BufferedReceiveStream,
    Buffers,
    DatagramSocket,
    Delivery,
    File,
    FileSlice,
    Payload,
    SharedStream,
    Status,
    StreamGroup,
    StreamHandler,
)

if TYPE_CHECKING:
    import ssl
    from array import array
    from mmap import mmap
    from pathlib import Path

    from typing_extensions import Buffer


async def chunks_are_whatever_has_the_buffer_protocol(
    stream: BatchSocketStream, mapped: mmap, numbers: array[int]
) -> None:
    chunks: list[Buffer] = [b"", bytearray(), mapped, numbers]
    assert_type(await stream.send_buffers(chunks), int)
    assert_type(await stream.send_buffers(Buffers(chunks)), int)
    assert_type(stream.send_buffers_nowait(Buffers(chunks)), int)
    assert_type(await stream.receive_some(), bytes)
    assert_type(await stream.receive_into(bytearray(9)), int)
    assert_type(await stream.receive_into([bytearray(9)]), int)
    # As a caller who forgets what one sends:
    await stream.send_buffers(["text"])  # type: ignore[list-item]
    await stream.send_buffers([1])  # type: ignore[list-item]


async def a_stream_goes_wherever_an_interface_is_asked_for(
    stream: BatchSocketStream, context: ssl.SSLContext
) -> None:
    half: trio.abc.HalfCloseableStream = stream
    one: trio.abc.Stream = stream
    tls = trio.SSLStream(stream, context)
    assert_type(tls.transport_stream, BatchSocketStream)
    assert_type(await triobatch.send_buffers(half, [b"x"]), int)
    assert_type(await triobatch.send_buffers(tls, [b"x"]), int)
    assert_type(await triobatch.relay(one, tls), tuple[int, int])
    # trio.SocketStream is final: that ours is registered with it is seen at
    # run time only, so a type checker has to be told.
    library(cast("trio.SocketStream", stream))
    library(stream)  # type: ignore[arg-type]
    modern_library(stream)


def library(stream: trio.SocketStream) -> None:
    assert_type(stream.socket, trio.socket.SocketType)


def modern_library(stream: trio.SocketStream | BatchSocketStream) -> None:
    assert_type(stream.socket, trio.socket.SocketType)


async def opening() -> None:
    stream = await triobatch.open_tcp_stream("localhost", 80)
    assert_type(stream, BatchSocketStream)
    assert_type(await triobatch.open_unix_socket("/x"), BatchSocketStream)
    listeners = await triobatch.open_tcp_listeners(0)
    assert_type(listeners, list[BatchSocketListener])
    assert_type(await listeners[0].accept(), BatchSocketStream)
    assert_type(
        triobatch.inherited_sockets(),
        dict[str, list[BatchSocketListener | DatagramSocket]],
    )


async def handle(stream: BatchSocketStream) -> None:
    reader = BufferedReceiveStream(stream)
    assert_type(await reader.receive_exactly(4), bytes)
    assert_type(await reader.receive_until(b"\n", limit=99), bytes)
    header = await triobatch.receive_proxy_header(reader)
    assert_type(header, triobatch.ProxyHeader)
    assert_type(header.source, triobatch.Address)


async def handle_any(stream: trio.abc.Stream) -> None:
    await stream.aclose()


async def answer(
    group: StreamGroup, batch: list[tuple[BatchSocketStream, bytes]]
) -> None:
    group.send_batch_nowait(batch)


async def serving(nursery: trio.Nursery) -> None:
    handlers: list[StreamHandler] = [handle, handle_any]
    batch_handler: BatchHandler = answer
    await nursery.start(triobatch.serve_tcp, handlers[0], 0)
    await nursery.start(triobatch.serve_tcp, handle, 0)
    nursery.start_soon(triobatch.serve_tcp_batches, batch_handler, 0)
    await nursery.start(triobatch.serve_tcp_batches, answer, 0)


async def files(stream: BatchSocketStream, path: Path) -> None:
    with path.open("rb") as plain:
        named: File = plain
        await stream.send_file(plain, header=[b"x"])
        await triobatch.send_file(stream, FileSlice(named, 1, 2))
    # What a function gives that opens one or another.
    with cast("IO[bytes]", path.open("rb")) as some, path.open("r+b") as both:
        await stream.send_file(some)
        await triobatch.send_file(stream, both)
    with tempfile.TemporaryFile() as unnamed:
        await stream.send_file(unnamed)
    with tempfile.NamedTemporaryFile() as temporary:
        await stream.send_file(FileSlice(temporary))
    async with await trio.open_file("x", "rb") as file:
        assert_type(await stream.send_file(file), int)
    with path.open() as text:
        # As a caller who forgets the mode:
        await stream.send_file(text)  # type: ignore[arg-type]
        await Buffers([b"x"]).write_to(file)


async def senders(
    stream: BatchSocketStream, tls: trio.SSLStream[BatchSocketStream]
) -> None:
    async with triobatch.open_batch_sender(stream) as sender:
        assert_type(sender, BatchSender)
        payloads: list[Payload] = [b"x", bytearray(9), Buffers([b"x"])]
        await sender.send(payloads[0])
        with sender.corked():
            sender.send_nowait(payloads[1])
    async with triobatch.open_batch_sender(tls) as other:
        assert_type(other, BatchSender)
    async with triobatch.open_shared_stream(tls) as shared:
        assert_type(shared, SharedStream)
        assert_type(shared.sender, BatchSender)


async def broadcasts(
    streams: list[BatchSocketStream],
    shared: set[SharedStream],
    anything: list[trio.abc.SendStream],
) -> list[Delivery[BatchSocketStream]]:
    result = await triobatch.broadcast(streams, b"x")
    for delivery in result.missed:
        assert_type(delivery, Delivery[BatchSocketStream])
        assert_type(delivery.status, Status)
        assert_type(delivery.stream, BatchSocketStream)
    # What was given comes back as what it was.
    for missed in triobatch.broadcast_nowait(shared, b"x").missed:
        shared.discard(missed.stream)
    # A result that says nothing of its streams takes any.
    late = triobatch.BroadcastResult()
    assert_type(late, BroadcastResult[trio.abc.SendStream])
    await triobatch.broadcast(anything, b"x", result=late)
    await triobatch.broadcast(streams, b"x", result=late)
    slow: Status = "partial"
    wrong: Status = "slow"  # type: ignore[assignment]
    assert slow != wrong
    return list(result)


async def groups(streams: list[BatchSocketStream]) -> None:
    async with triobatch.open_stream_group() as group:
        assert_type(group, StreamGroup)
        for stream in streams:
            group.add(stream)
        batch = await group.receive_batch()
        assert_type(batch, list[tuple[BatchSocketStream, bytes]])
        refused = group.send_batch_nowait(batch)
        assert_type(refused, list[tuple[BatchSocketStream, Exception]])
