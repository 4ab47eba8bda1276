"""What is told of a broadcast to streams that queue whole messages."""

from __future__ import annotations

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

import triobatch
from triobatch import open_shared_stream

BROADCASTS = [triobatch.broadcast, triobatch.broadcast_nowait]


async def settled(result):
    return result if hasattr(result, "sent") else await result


@pytest.mark.parametrize("broadcast", BROADCASTS)
async def test_a_shared_stream_has_it_queued_whole_or_is_full(
    clogged_pair, make_streams, broadcast
):
    stuck, _ = clogged_pair
    left, right = await make_streams()
    async with (
        open_shared_stream(left) as free,
        open_shared_stream(stuck, max_buffered=10, grace=0) as full,
        trio.open_nursery() as nursery,
    ):
        for payload, status in [(b"x" * 11, "queued"), (b"second", "full")]:
            result = await settled(broadcast([free, full], payload))
            assert [d.status for d in result] == ["queued", status]
            size = len(payload)
            assert [d.sent for d in result] == [
                size,
                size if status == "queued" else 0,
            ]
            assert next(d.stream for d in result.sent) is free
            assert [d.stream for d in result.missed] == [full] * (
                status == "full"
            )
        await free.sender.flush()
        assert await right.receive_some(100) == b"x" * 11 + b"second"
        # What is queued to the stuck one is dropped.
        await full.aclose()
        nursery.cancel_scope.cancel()
    assert full.sender.unsent == [b"x" * 11]


@pytest.mark.parametrize("broadcast", BROADCASTS)
async def test_one_that_broke_or_was_closed_is_told(pair, broadcast):
    left, right = pair
    with pytest.raises(trio.BrokenResourceError):
        async with open_shared_stream(left) as shared:
            await right.aclose()
            # The first may still be taken by the kernel.
            for _ in range(2):
                shared.queue_nowait(b"x" * 100_000)
                await wait_all_tasks_blocked()
                if shared.sender._task.cause is not None:
                    break
            result = await settled(broadcast([shared], b"payload"))
            assert [d.status for d in result] == ["broken"]
            assert not result.sent
            assert len(result.missed) == 1
            await shared.send_all(b"x")


@pytest.mark.parametrize("broadcast", BROADCASTS)
async def test_a_subclass_that_sends_in_its_own_way_is_not_bypassed(
    pair, broadcast
):
    class Own(triobatch.SharedStream):
        async def send_all(self, data):
            await super().send_all(b"<" + data + b">")

    left, right = pair
    async with open_shared_stream(left) as shared:
        own = Own(left, shared.sender, 0)
        if broadcast is triobatch.broadcast_nowait:
            with pytest.raises(TypeError, match="not Own"):
                broadcast([own], b"x")
            return
        result = await broadcast([own], b"x")
        assert [d.status for d in result] == ["sent"]
    assert await right.receive_some(100) == b"<x>"


def test_a_result_that_is_begun_anew_knows_nothing():
    stream = trio.testing.MemorySendStream()
    result = triobatch.BroadcastResult()
    for _ in range(2):
        result._start([stream], 3)
        assert [d.status for d in result] == ["unsent"]
        result._sent[0] = 3
        for places in (result._unknown, result._queued, result._full):
            places.add(0)
        result._fail(0, trio.BrokenResourceError())
