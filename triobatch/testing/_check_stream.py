"""What every stream with a ``send_buffers`` of its own has to keep to."""

from __future__ import annotations

import random
from array import array
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, TypeAlias

import trio
from trio.testing import (
    assert_checkpoints,
    check_one_way_stream,
    wait_all_tasks_blocked,
)

from triobatch._queues.buffers import Buffers
from triobatch._wire.arguments import check_callable

if TYPE_CHECKING:
    from triobatch._wire.hints import Buffer


Maker: TypeAlias = Callable[
    [], Awaitable[tuple[trio.abc.SendStream, trio.abc.ReceiveStream]]
]


async def check_batch_stream(
    stream_maker: Maker, clogged_stream_maker: Maker | None
) -> None:
    """Check that a stream's ``send_buffers`` keeps what is promised of it.

    In the manner of ``trio.testing.check_one_way_stream``, which it runs too.

    Args:
      stream_maker: An async function that returns a connected pair: a stream
        with a ``send_buffers`` method, and one that receives.
      clogged_stream_maker: The same, but the first one's buffers are full, so
        that sending a byte would wait until the other receives. None if there
        is no such thing; then less is checked.

    Raises:
      AssertionError: the stream breaks a promise.
    """
    check_callable(stream_maker, "stream_maker")
    if clogged_stream_maker is not None:
        check_callable(clogged_stream_maker, "clogged_stream_maker")
    await check_one_way_stream(stream_maker, clogged_stream_maker)
    for check in (
        _check_kinds,
        _check_refusals,
        _check_large,
        _check_closed,
        _check_cancelled_before,
    ):
        sender, receiver = await stream_maker()
        await _bounded(check, sender, receiver)
    if clogged_stream_maker is not None:
        for check in (_check_busy, _check_cancelled_within):
            sender, receiver = await clogged_stream_maker()
            await _bounded(check, sender, receiver)


async def _bounded(
    check: Callable[[Any, Any], Awaitable[None]],
    sender: Any,
    receiver: trio.abc.ReceiveStream,
) -> None:
    try:
        with trio.fail_after(60):
            await check(sender, receiver)
    finally:
        # Or a cancellation would leave the second open.
        with trio.CancelScope(shield=True):
            try:
                await trio.aclose_forcefully(sender)
            finally:
                await trio.aclose_forcefully(receiver)


async def _receive(receiver: trio.abc.ReceiveStream, size: int) -> bytes:
    received = bytearray()
    while len(received) < size:
        data = await receiver.receive_some(size - len(received))
        assert data, f"the stream ended after {len(received)} bytes"
        received += data
    return bytes(received)


async def _check_kinds(sender: Any, receiver: trio.abc.ReceiveStream) -> None:
    """Chunks of every kind are sent, and sizes are bytes."""
    chunks: list[Buffer] = [
        b"ab",
        bytearray(b"cd"),
        memoryview(b"xefx")[1:3],
        b"",
        array("H", [0x6767, 0x6868]),
    ]
    with assert_checkpoints():
        assert await sender.send_buffers(chunks) == 10
    assert len(chunks) == 5, "send_buffers changed its caller's list"
    assert await _receive(receiver, 10) == b"abcdefgghh"
    queue = Buffers(chunks)
    with assert_checkpoints():
        assert await sender.send_buffers(queue) == 10
    assert not queue, "send_buffers did not consume a Buffers"
    assert await _receive(receiver, 10) == b"abcdefgghh"
    with assert_checkpoints():
        assert await sender.send_buffers(b"%d" % i for i in range(10)) == 10
    assert await _receive(receiver, 10) == b"0123456789"
    for nothing in ([], [b""], Buffers()):
        with assert_checkpoints():
            assert await sender.send_buffers(nothing) == 0


async def _check_refusals(
    sender: Any, receiver: trio.abc.ReceiveStream
) -> None:
    """What is no chunk is refused before anything is sent."""
    for wrong, expected in (
        ([b"x", "text"], TypeError),
        ([b"x", 3], TypeError),
        (b"a single chunk", TypeError),
        ([b"x", memoryview(b"abcd")[::2]], BufferError),
    ):
        try:
            await sender.send_buffers(wrong)
        except expected:
            continue
        raise AssertionError(f"{wrong!r} raised no {expected.__name__}")
    await sender.send_buffers([b"!"])
    assert await _receive(receiver, 1) == b"!", "a refused call has sent"


async def _check_large(sender: Any, receiver: trio.abc.ReceiveStream) -> None:
    """Batches larger than any buffer arrive whole, and in order."""
    choose = random.Random(0)  # noqa: S311 (for a test)
    sizes = [choose.choice([1, 64, 3000, 70_000]) for _ in range(1500)]
    chunks = [choose.randbytes(size) for size in sizes]
    received = b""

    async def receive() -> None:
        nonlocal received
        received = await _receive(receiver, sum(sizes))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(receive)
        assert await sender.send_buffers(Buffers(chunks)) == sum(sizes)
    assert received == b"".join(chunks), "the bytes differ"


async def _check_closed(
    sender: Any, _receiver: trio.abc.ReceiveStream
) -> None:
    """A closed stream says so, and consumes nothing."""
    await sender.aclose()
    queue = Buffers([b"kept"])
    try:
        await sender.send_buffers(queue)
    except trio.ClosedResourceError:
        assert queue.nbytes == 4, "a closed stream consumed a Buffers"
        return
    raise AssertionError("a closed stream raised no ClosedResourceError")


async def _check_cancelled_before(
    sender: Any, _receiver: trio.abc.ReceiveStream
) -> None:
    """In a cancelled scope nothing is sent."""
    queue = Buffers([b"kept"])
    with trio.CancelScope() as scope:
        scope.cancel()
        await sender.send_buffers(queue)
    assert scope.cancelled_caught, "send_buffers is no checkpoint"
    assert queue.nbytes == 4, "a cancelled call consumed a Buffers"


async def _check_busy(sender: Any, _receiver: trio.abc.ReceiveStream) -> None:
    """A second sender is turned away, and harms nothing."""
    async with trio.open_nursery() as nursery:
        nursery.start_soon(sender.send_buffers, [b"first"])
        await wait_all_tasks_blocked()
        try:
            await sender.send_buffers([b"second"])
        except trio.BusyResourceError:
            nursery.cancel_scope.cancel()
            return
        raise AssertionError("a second sender got no BusyResourceError")


async def _check_cancelled_within(
    sender: Any, receiver: trio.abc.ReceiveStream
) -> None:
    """After a cancellation a Buffers holds exactly what was not sent."""
    choose = random.Random(1)  # noqa: S311 (for a test)
    whole = choose.randbytes(3_000_000)
    queue = Buffers(whole[i : i + 5000] for i in range(0, len(whole), 5000))
    received = bytearray()

    async def receive() -> None:
        while data := await receiver.receive_some(100_000):
            received.extend(data)
            await trio.lowlevel.checkpoint()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(receive)
        for _ in range(50):
            with trio.CancelScope() as scope:
                nursery.start_soon(_cancel_after, choose.randrange(5), scope)
                await sender.send_buffers(queue)
        await sender.send_buffers(queue)
        await sender.aclose()
    assert received.endswith(whole), "bytes were lost or repeated"
    # Before them is only what clogged the stream.
    assert received.count(whole[:100]) == 1, "bytes were repeated"


async def _cancel_after(checkpoints: int, scope: trio.CancelScope) -> None:
    for _ in range(checkpoints):
        await trio.lowlevel.checkpoint()
    scope.cancel()
