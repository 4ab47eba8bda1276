"""The block around a sender on a stream that knows nothing of batches."""

from __future__ import annotations

import pytest
import trio
from trio.testing import memory_stream_pair, wait_all_tasks_blocked

from triobatch import open_batch_sender


class BodyError(Exception):
    """What a body raises."""


class Slow(trio.abc.SendStream):
    """Takes what it is given when it is told to."""

    def __init__(self):
        self.sent = []
        self.let_through = trio.Event()

    async def send_all(self, data):
        await self.let_through.wait()
        self.sent.append(bytes(data))

    async def wait_send_all_might_not_block(self):
        await trio.lowlevel.checkpoint()

    async def aclose(self):
        await trio.lowlevel.checkpoint()


async def test_other_streams_finish_the_batch_on_its_way():
    stream = Slow()
    with pytest.raises(BodyError):
        async with open_batch_sender(stream, grace=60) as sender:
            sender.send_nowait(b"a")
            sender.send_nowait(b"b")
            await wait_all_tasks_blocked()
            sender.send_nowait(b"c")
            stream.let_through.set()
            raise BodyError
    assert stream.sent == [b"ab"]
    assert sender.unsent == [b"c"]


async def test_other_streams_are_given_up_after_the_grace_time():
    stream = Slow()
    with pytest.raises(BodyError):
        async with open_batch_sender(stream, grace=0.01) as sender:
            sender.send_nowait(b"a")
            await wait_all_tasks_blocked()
            sender.send_nowait(b"b")
            raise BodyError
    # Of the batch that was on its way nobody knows.
    assert sender.uncertain == [b"a"]
    assert sender.unsent == [b"b"]
    assert sender.unfinished == b""


async def test_other_streams_are_sent_everything_on_leaving():
    left, right = memory_stream_pair()
    async with open_batch_sender(left) as sender:
        for number in range(1000):
            sender.send_nowait(b"%03d" % number * 50)
    await left.aclose()
    assert b"".join([data async for data in right]) == b"".join(
        b"%03d" % number * 50 for number in range(1000)
    )
    assert sender.statistics().messages == 1000
