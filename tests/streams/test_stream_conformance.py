"""Trio's own tests of streams, on ours."""

from __future__ import annotations

import random

import pytest
from trio.testing import check_half_closeable_stream

from triobatch import BatchSocketStream, Buffers


def _fragments(data):
    """Cut into random pieces, some of them empty."""
    with memoryview(data) as view:
        whole = bytes(view)
    fragments = []
    start = 0
    while start < len(whole):
        # Mostly small, so that both ways of sending are taken.
        stop = start + random.choice((0, 1, 7, 500, 5000, 100_000))
        fragments.append(whole[start:stop])
        start = stop
    return [b"", *fragments, b""]


class SendsAList(BatchSocketStream):
    async def send_all(self, data):
        assert await self.send_buffers(_fragments(data)) == len(data)


class SendsBuffers(BatchSocketStream):
    async def send_all(self, data):
        buffers = Buffers(_fragments(data))
        assert await self.send_buffers(buffers) == len(data)
        assert not buffers


class SendsViews(BatchSocketStream):
    async def send_all(self, data):
        views = map(memoryview, map(bytearray, _fragments(data)))
        assert await self.send_buffers(views) == len(data)


@pytest.mark.parametrize(
    "stream_class", [BatchSocketStream, SendsAList, SendsBuffers, SendsViews]
)
async def test_it_is_a_half_closeable_stream(stream_class, make_sockets, clog):
    async def maker():
        left, right = await make_sockets()
        return stream_class(left), stream_class(right)

    async def clogged_maker():
        left, right = await make_sockets()
        streams = stream_class(left), stream_class(right)
        # Both: the kit tests both directions.
        await clog(streams[0])
        await clog(streams[1])
        return streams

    await check_half_closeable_stream(maker, clogged_maker)
