"""The suite for streams finds out who breaks a promise."""

from __future__ import annotations

import pytest
import trio
from trio.testing import memory_stream_one_way_pair

import triobatch
from triobatch import BatchSocketStream, Buffers
from triobatch.testing import check_batch_stream


async def test_our_own_stream_is_a_batch_stream(make_streams, clog):
    async def clogged():
        left, right = await make_streams()
        await clog(left)
        return left, right

    await check_batch_stream(make_streams, clogged)


class Lossy(BatchSocketStream):
    """Forgets where it stopped when it is cancelled."""

    async def send_buffers(self, buffers):
        whole = Buffers(list(buffers))
        sent = await super().send_buffers(whole)
        if isinstance(buffers, Buffers):
            buffers.clear()
        return sent


class Careless(BatchSocketStream):
    """Sends what comes before a chunk that is none."""

    async def send_buffers(self, buffers):
        sent = 0
        for chunk in list(buffers):
            sent += await super().send_buffers([chunk])
        if isinstance(buffers, Buffers):
            buffers.clear()
        return sent


class Counting(BatchSocketStream):
    """Counts items and not bytes."""

    async def send_buffers(self, buffers):
        size = sum(map(len, buffers)) if isinstance(buffers, list) else None
        sent = await super().send_buffers(buffers)
        return sent if size is None else size


def deaf_to(*errors):
    """Return a class whose ``send_buffers`` says nothing of some errors."""

    class Deaf(BatchSocketStream):
        async def send_buffers(self, buffers):
            try:
                return await super().send_buffers(buffers)
            except errors:
                return 0

    return Deaf


@pytest.mark.parametrize("family", ["unix"])
@pytest.mark.parametrize(
    "broken",
    [
        *(Lossy, Careless, Counting),
        deaf_to(TypeError, BufferError),
        deaf_to(trio.ClosedResourceError),
        deaf_to(trio.BusyResourceError),
    ],
)
async def test_a_stream_that_breaks_a_promise_is_found_out(
    make_sockets, clog, broken
):
    async def maker():
        left, right = await make_sockets()
        return broken(left), BatchSocketStream(right)

    async def clogged():
        left, right = await maker()
        await clog(left)
        return left, right

    with pytest.raises(BaseException) as found:  # noqa: PT011
        await check_batch_stream(maker, clogged)
    assert not isinstance(found.value, TypeError)


async def test_a_stream_that_has_no_clogged_state_is_checked_as_well():
    class InMemory(trio.abc.SendStream):
        def __init__(self, stream):
            self._stream = stream

        async def send_buffers(self, buffers):
            if isinstance(buffers, Buffers):
                return await triobatch.send_buffers(self._stream, buffers)
            return await triobatch.send_buffers(self._stream, Buffers(buffers))

        async def send_all(self, data):
            await self._stream.send_all(data)

        async def wait_send_all_might_not_block(self):
            await self._stream.wait_send_all_might_not_block()

        async def aclose(self):
            await self._stream.aclose()

    async def maker():
        left, right = memory_stream_one_way_pair()
        return InMemory(left), right

    await check_batch_stream(maker, None)


@pytest.mark.parametrize("family", ["unix"])
async def test_a_check_that_is_cancelled_closes_both_ends(make_sockets):
    made = []

    class Stuck(BatchSocketStream):
        async def send_buffers(self, buffers):
            scope.cancel()
            await trio.sleep_forever()

    async def maker():
        left, right = await make_sockets()
        two = Stuck(left), BatchSocketStream(right)
        made.extend(two)
        return two

    with trio.CancelScope() as scope:
        await check_batch_stream(maker, None)
    assert scope.cancelled_caught
    assert {one.socket.fileno() for one in made} == {-1}
