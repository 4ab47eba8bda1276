"""A pair of datagram sockets in memory."""

from __future__ import annotations

import itertools

import pytest
import trio
from trio.testing import assert_checkpoints, wait_all_tasks_blocked

from triobatch import Buffers, Datagrams, DatagramSocket
from triobatch.testing import MemoryDatagramSocket, memory_datagram_pair


async def test_a_pair_in_memory_moves_datagrams():
    left, right = memory_datagram_pair()
    with assert_checkpoints():
        await left.send(b"one")
    with assert_checkpoints():
        assert await right.receive() == (b"one", "left")
    with assert_checkpoints():
        await right.send_batch([(b"two", "left"), (b"", None)])
    with assert_checkpoints():
        await right.send_batch([])
    with assert_checkpoints():
        assert await right.send_many([Buffers([b"th", b"ree"])]) == 1
    assert await left.receive_batch() == [
        (b"two", "right"),
        (b"", "right"),
        (b"three", "right"),
    ]
    with pytest.raises(trio.WouldBlock):
        left.receive_nowait()
    with pytest.raises(ValueError, match="address must be"):
        await left.send(b"x", "elsewhere")


async def test_a_pair_in_memory_cuts_up_segments():
    left, right = memory_datagram_pair()
    with assert_checkpoints():
        assert await left.send_segments(bytearray(b"abcde"), 2) == 3
    assert left.send_segments_nowait(b"fgh", 3) == 1
    with assert_checkpoints():
        assert await left.send_segments(b"", 9) == 0
    assert left.send_segments_nowait(b"", 9) == 0
    payloads = [payload for payload, _ in await right.receive_batch()]
    assert payloads == [b"ab", b"cd", b"e", b"fgh"]
    for wrong, error in ((0, ValueError), (1.5, TypeError)):
        with pytest.raises(error):
            left.send_segments_nowait(b"x", wrong)
        with pytest.raises(error):
            await left.send_segments(b"x", wrong)
    with pytest.raises(TypeError):
        left.send_segments_nowait("text", 1)


def test_a_pair_in_memory_sends_what_goes_now():
    left, right = memory_datagram_pair(max_queued=2)
    assert left.send_many_nowait([]) == 0
    assert left.send_many_nowait([b"a", b"b", b"c"], "right") == 2
    with pytest.raises(trio.WouldBlock):
        left.send_many_nowait([b"d"])
    assert right.receive_nowait() == (b"a", "left")
    assert left.send_segments_nowait(b"efg", 1) == 1
    assert right.receive_batch_nowait() == [(b"b", "left"), (b"e", "left")]


def test_a_pair_in_memory_lacks_only_what_a_network_has():
    def methods(cls):
        return {name for name in dir(cls) if not name.startswith("_")}

    assert methods(MemoryDatagramSocket) < methods(DatagramSocket)
    assert methods(DatagramSocket) - methods(MemoryDatagramSocket) == {
        "receive_errors",
        "receive_errors_nowait",
        "receive_messages",
        "receive_messages_nowait",
        "statistics",
    }


async def test_a_pair_in_memory_has_as_much_room_as_it_is_given():
    left, right = memory_datagram_pair(max_queued=2)
    batch = Datagrams([(b"%d" % i, None) for i in range(5)])
    assert left.send_batch_nowait(batch) == 2
    assert len(batch) == 3
    with pytest.raises(trio.WouldBlock):
        left.send_batch_nowait(batch)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(left.send_batch, batch)
        await wait_all_tasks_blocked()
        received = []
        while len(received) < 5:
            received += await right.receive_batch(1)
    assert [data for data, _ in received] == [b"%d" % i for i in range(5)]


async def test_a_pair_in_memory_loses_and_doubles_what_it_is_told():
    fates = itertools.cycle([0, 1, 2])
    left, right = memory_datagram_pair(link=lambda data: [data] * next(fates))
    await left.send_many([b"lost", b"once", b"twice"])
    received = await right.receive_batch()
    assert [data for data, _ in received] == [b"once", b"twice", b"twice"]


async def test_a_closed_end_in_memory_tells_who_waits():
    left, right = memory_datagram_pair(max_queued=1)
    await right.send(b"fills")

    async def expect_closed(call, *arguments):
        with pytest.raises(trio.ClosedResourceError):
            await call(*arguments)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(expect_closed, right.receive)
        nursery.start_soon(expect_closed, right.send, b"waits")
        await wait_all_tasks_blocked()
        await right.aclose()
    await expect_closed(right.receive)
    await expect_closed(right.send, b"late")
    # As with UDP, nobody tells.
    async with left:
        await left.send(b"lost")
        await left.send(b"lost")
