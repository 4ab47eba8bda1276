"""How much memory the messages of a batch sender take, whatever their size."""

from __future__ import annotations

import pytest
import trio
from traced import tracemalloc

from triobatch import Buffers, open_batch_sender

LIMIT = 2**20


def of_bytes(number):
    return bytes(bytearray(number.to_bytes(4, "big")[-2:]))


def gathered(number):
    data = of_bytes(number)
    return Buffers([data[:1], bytearray(data[1:])])


def of_a_hundred(number):
    return b"%0100d" % number


@pytest.fixture
def traced():
    tracemalloc.start()
    yield
    tracemalloc.stop()


@pytest.mark.parametrize("make", [of_bytes, gathered, of_a_hundred])
async def test_memory_is_bounded_however_small_the_messages_are(
    clogged_pair, traced, make
):
    left, _right = clogged_pair
    with trio.CancelScope() as scope:
        async with open_batch_sender(
            left, max_buffered=LIMIT, grace=0
        ) as sender:
            tracemalloc.reset_peak()
            before, _ = tracemalloc.get_traced_memory()
            count = 0
            with pytest.raises(trio.WouldBlock):
                while True:
                    sender.send_nowait(make(count))
                    count += 1
                    if count == 500:
                        # A batch on its way counts as well.
                        await trio.lowlevel.checkpoint()
            _, peak = tracemalloc.get_traced_memory()
            scope.cancel()
    assert count > 500
    assert peak - before < 2 * LIMIT
    assert sender.statistics().peak_size <= LIMIT + 100


async def test_room_for_small_messages_comes_back(clogged_pair):
    left, right = clogged_pair
    async with open_batch_sender(left, max_buffered=100) as sender:
        sender.send_nowait(b"x" * 200)
        with pytest.raises(trio.WouldBlock):
            sender.send_nowait(b"y")
        async with trio.open_nursery() as nursery:
            nursery.start_soon(sender.flush)
            async for _ in right:
                if not sender.statistics().buffered_size:
                    break
        for _ in range(101):
            sender.send_nowait(b"y")
        with pytest.raises(trio.WouldBlock):
            sender.send_nowait(b"y")
