"""What a type checker makes of datagrams; ``.ci/types`` runs it."""

# pyright: strict, reportUnnecessaryTypeIgnoreComment=true

from __future__ import annotations

from typing import TYPE_CHECKING

from typing_extensions import assert_type

import triobatch
from triobatch import (
    AbstractDatagramSocket,
    Address,
    Buffers,
    Datagram,
    DatagramBatchSender,
    DatagramError,
    DatagramErrorGroup,
    Datagrams,
    DatagramSocket,
    Errors,
    Handler,
    Message,
    Metadata,
    Payload,
    PeerError,
    ReceivedDatagram,
    Run,
)
from triobatch.lowlevel import recvmmsg, sendmmsg
from triobatch.testing import MemoryDatagramSocket, memory_datagram_pair

if TYPE_CHECKING:
    from collections.abc import Iterable

    import trio

PEER: Address = ("127.0.0.1", 9)
PEER_6: Address = ("::1", 9, 0, 0)
PATH: Address = "/run/socket"


async def sending(sock: DatagramSocket, errors: Errors) -> None:
    payloads: list[Payload] = [b"x", bytearray(1), Buffers([b"x", b"y"])]
    await sock.send(payloads[0], PEER)
    pairs: list[Datagram] = [
        (b"x", PEER),
        (memoryview(b"x"), PEER_6, Metadata(ttl=3)),
    ]
    assert_type(await sock.send_batch(pairs, errors=errors), int)
    assert_type(sock.send_batch_nowait(Datagrams(pairs)), int)
    # Literals need no annotation, and neither does a list that is inferred.
    await sock.send_batch([(b"x", ("127.0.0.1", 9)), (b"y", None)])
    await sock.send_batch([(b"x", PEER) for _ in range(9)])
    assert_type(await sock.send_many([b"x", bytearray(1)], PEER), int)
    assert_type(await sock.send_segments(bytes(9), 3, PEER), int)
    await sock.send_batch([b"x"])  # type: ignore[list-item]
    await sock.send_batch([(PEER, b"x")])  # type: ignore[list-item]
    await sock.send_batch(pairs, errors="drop")  # type: ignore[arg-type]


async def receiving(sock: AbstractDatagramSocket) -> None:
    assert_type(await sock.receive(), tuple[bytes, Address])
    batch = await sock.receive_batch()
    assert_type(batch, list[ReceivedDatagram])
    assert_type(batch, list[tuple[bytes, Address]])
    # What was received is sent as it is.
    await sock.send_batch(batch)
    async for pairs in sock.batches():
        assert_type(pairs, list[ReceivedDatagram])
    for message in await sock.receive_messages(fields={"ttl"}):
        assert_type(message, Message)
        assert_type(message.metadata, Metadata)
    async with sock.receive_runs() as runs:
        assert_type(runs[0], Run)
        await sock.send_runs(runs)


async def echo(
    datagrams: list[ReceivedDatagram], sender: DatagramBatchSender
) -> None:
    await sender.send_batch(datagrams)


async def echo_any(
    datagrams: Iterable[Datagram], sender: DatagramBatchSender
) -> object:
    return await sender.send_batch(datagrams)


async def in_full(
    datagrams: list[tuple[bytes, Address]], sender: DatagramBatchSender
) -> None:
    await sender.send_batch(datagrams)


async def confused(sender: DatagramBatchSender) -> None:
    await sender.send(b"x", PEER)


async def serving(nursery: trio.Nursery) -> None:
    handlers: list[Handler] = [echo, echo_any, in_full]
    bound: list[DatagramSocket] = await nursery.start(
        triobatch.serve_udp, handlers[0], 0
    )
    nursery.start_soon(triobatch.serve_datagrams, echo, bound)
    await triobatch.serve_udp(confused, 0)  # type: ignore[arg-type]


async def a_result_for_every_datagram(sock: DatagramSocket) -> None:
    try:
        await sock.send_batch([(b"x", PEER)])
    except DatagramErrorGroup as group:
        assert_type(group.exceptions[0].errno, int)
        assert_type(group.sent, int)
        for error in group.exceptions:
            assert_type(error, DatagramError)
            assert_type(error.index, int)
            assert_type(error.address, Address)
    for report in await sock.receive_errors():
        assert_type(report, PeerError)


async def senders(sock: DatagramSocket) -> None:
    async with triobatch.open_batch_sender(sock) as sender:
        assert_type(sender, DatagramBatchSender)
        await sender.send(b"x", PEER, metadata=Metadata(ttl=3))
        await sender.queue(b"x", PEER)


async def what_tests_put_in_its_place() -> None:
    ours, theirs = memory_datagram_pair()
    assert_type(ours, MemoryDatagramSocket)
    await receiving(ours)
    async with triobatch.open_batch_sender(theirs) as sender:
        assert_type(sender, DatagramBatchSender)


async def opening() -> None:
    sock = await triobatch.open_udp_socket(local_address=("::1", 0))
    assert_type(sock, DatagramSocket)
    assert_type(sock.local_address, Address)
    # One that shares its port.
    await triobatch.open_udp_socket(
        local_address=sock.local_address, reuse_port=True
    )
    # The address of an internet socket is a tuple.
    if isinstance(sock.local_address, tuple):
        assert_type(sock.local_address[0], str)
        assert_type(sock.local_address[1], int)


def the_system_calls(fd: int) -> None:
    assert_type(sendmmsg(fd, [(b"x", PEER)]), int)
    received = recvmmsg(fd, bytearray(3000), 1500)
    assert_type(received, list[tuple[int, Address, int]])
