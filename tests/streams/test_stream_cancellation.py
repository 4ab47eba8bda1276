"""No byte lost, none sent twice: however a send ends, the Buffers know."""

from __future__ import annotations

import random
from functools import partial

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from triobatch import Buffers


class CancelAtStep(trio.abc.Instrument):
    """Cancel a scope when its task has come to rest for the n-th time.

    That is every wait, and every checkpoint: there is no other place at which
    Trio could cancel.
    """

    def __init__(self, scope, step):
        self._scope = scope
        self._left = step
        self._task = trio.lowlevel.current_task()

    def after_task_step(self, task):
        if task is self._task:
            self._left -= 1
            if self._left == 0:
                self._scope.cancel()


async def send_until_step(stream, buffers, step):
    """Return whether the send came to its end before that step."""
    with trio.CancelScope() as scope:
        if step == 0:
            scope.cancel()
        instrument = CancelAtStep(scope, step)
        trio.lowlevel.add_instrument(instrument)
        try:
            await stream.send_buffers(buffers)
        finally:
            trio.lowlevel.remove_instrument(instrument)
        return True
    return False


def small_chunks(rng):
    return [rng.randbytes(rng.randrange(1, 1500)) for _ in range(200)]


def large_chunks(rng):
    return [rng.randbytes(rng.randrange(3000, 40_000)) for _ in range(10)]


def views_and_bytes(rng):
    return [
        rng.choice((bytes, bytearray, memoryview))(chunk)
        for chunk in small_chunks(rng)[:20] + large_chunks(rng)
    ]


@pytest.fixture(params=[small_chunks, large_chunks, views_and_bytes])
def chunks(request):
    return request.param(random.Random(request.param.__name__))


async def read_randomly(stream, received, *, seed, limit=None):
    """Read pieces of random sizes until the end, or until ``limit`` bytes."""
    rng = random.Random(seed)
    while limit is None or len(received) < limit:
        try:
            piece = await stream.receive_some(rng.randrange(1, 30_000))
        except trio.BrokenResourceError:
            return
        if not piece:
            return
        received += piece


@pytest.mark.parametrize("go_on", [False, True], ids=["stop", "go on"])
async def test_a_cancelled_send_knows_what_is_left_at_every_step(
    make_streams, chunks, go_on
):
    whole = b"".join(chunks)
    completed = False
    step = 0
    while not completed:
        left, right = await make_streams(send_size=1)
        buffers = Buffers(chunks)
        received = bytearray()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(
                partial(read_randomly, right, received, seed=step)
            )
            completed = await send_until_step(left, buffers, step)
            assert left.statistics().bytes_sent == len(whole) - buffers.nbytes
            assert whole.endswith(bytes(buffers))
            if go_on:
                await left.send_buffers(buffers)
                assert not buffers
            await left.send_eof()
        assert bytes(received) + bytes(buffers) == whole
        await left.aclose()
        await right.aclose()
        step += 1
    # Before the first byte, at least one wait, and the end.
    assert step > 3


@pytest.mark.parametrize("seed", range(5))
async def test_a_deadline_leaves_what_was_not_sent(make_streams, chunks, seed):
    left, right = await make_streams(send_size=1)
    whole = b"".join(chunks)
    rng = random.Random(seed)
    buffers = Buffers(chunks)
    received = bytearray()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(partial(read_randomly, right, received, seed=seed))
        while buffers:
            try:
                with trio.fail_after(rng.uniform(0, 0.002)):
                    await left.send_buffers(buffers)
            except trio.TooSlowError:
                pass
        await left.send_eof()
    assert received == whole


async def test_a_deadline_that_has_passed_sends_nothing(pair):
    left, _ = pair
    buffers = Buffers([b"a", b"b"])
    # Trio's own sends see a deadline from the next tick on, and so do ours.
    with trio.CancelScope(deadline=-float("inf")) as scope:
        await trio.lowlevel.cancel_shielded_checkpoint()
        await left.send_buffers(buffers)
    assert scope.cancelled_caught
    assert list(buffers) == [b"a", b"b"]
    assert left.statistics().send_calls == 0


async def test_a_send_that_is_done_is_never_reported_as_cancelled(pair):
    left, right = pair
    buffers = Buffers([b"done"])
    assert await send_until_step(left, buffers, 1)
    assert not buffers
    assert await right.receive_some() == b"done"


@pytest.mark.parametrize("read_first", [0, 1, 5000, 60_000])
async def test_a_reset_leaves_what_the_kernel_did_not_take(
    make_streams, chunks, reset, read_first
):
    whole = b"".join(chunks)
    left, right = await make_streams(send_size=1)
    buffers = Buffers(chunks * 40)
    size = buffers.nbytes
    received = bytearray()

    async def read_and_reset():
        await read_randomly(right, received, seed=3, limit=read_first)
        await wait_all_tasks_blocked()
        await reset(right)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(read_and_reset)
        with pytest.raises(trio.BrokenResourceError):
            await left.send_buffers(buffers)
    sent = left.statistics().bytes_sent
    assert buffers.nbytes == size - sent
    assert bytes(buffers) == (whole * 40)[sent:]
    # What was on its way is lost with the connection, but nothing else is.
    assert len(received) <= sent
    assert received == (whole * 40)[: len(received)]


async def test_what_a_reset_left_goes_over_the_next_connection(
    make_streams, reset
):
    left, right = await make_streams(send_size=1)
    buffers = Buffers([b"a" * 1000] * 5000)
    async with trio.open_nursery() as nursery:

        @nursery.start_soon
        async def break_off():
            await wait_all_tasks_blocked()
            await reset(right)

        with pytest.raises(trio.BrokenResourceError):
            await left.send_buffers(buffers)
    left_over = bytes(buffers)
    assert left_over
    left, right = await make_streams()
    received = bytearray()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(partial(read_randomly, right, received, seed=1))
        await left.send_buffers(buffers)
        await left.send_eof()
    assert received == left_over


@pytest.mark.parametrize("read_first", [0, 1, 5000, 60_000])
async def test_a_stream_closed_by_another_task_leaves_the_rest(
    make_streams, chunks, read_first
):
    whole = b"".join(chunks) * 40
    left, right = await make_streams(send_size=1)
    buffers = Buffers(chunks * 40)
    received = bytearray()
    async with trio.open_nursery() as nursery:

        @nursery.start_soon
        async def close():
            await read_randomly(right, received, seed=3, limit=read_first)
            await wait_all_tasks_blocked()
            await left.aclose()
            # What the kernel took before arrives.
            await read_randomly(right, received, seed=4)

        with pytest.raises(trio.ClosedResourceError):
            await left.send_buffers(buffers)
    assert buffers
    assert bytes(received) + bytes(buffers) == whole


async def test_a_list_is_left_as_it_was_after_a_cancelled_send(pair):
    chunks = [bytes(2**16)] * 1000
    before = list(chunks)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(pair[0].send_buffers, chunks)
        await wait_all_tasks_blocked()
        nursery.cancel_scope.cancel()
    assert chunks == before
