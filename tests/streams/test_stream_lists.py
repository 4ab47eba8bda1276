"""Lists of bytes, which are sent without becoming Buffers where they can."""

import extensions
import pytest
import trio
from helpers import receive_exactly
from trio.testing import wait_all_tasks_blocked

from triobatch._streams.gather import COPY_BELOW

if extensions.why_absent(extensions.CHUNKS) is None:
    from triobatch._core import streams_c

# Elsewhere a list is taken in whole before anything else happens.
needs_extension = pytest.mark.skipif(
    extensions.why_absent(extensions.CHUNKS) is not None,
    reason="copying needs the chunk extension",
)


@pytest.fixture
def meddle(around, monkeypatch):
    """Change the caller's list once it is taken in, as a thread may."""
    rubbish = []

    def install(chunks, change):
        def spoil():
            if not rubbish:
                size = len(chunks[0])
                change(chunks)
                # Whatever was freed is overwritten.
                rubbish.extend(b"\xff" * size for _ in range(100))

        def be_interrupted_and_send(send, *args):
            spoil()
            return send(*args)

        # What was copied, and a lone chunk, go out by the same call.
        real = streams_c._send
        monkeypatch.setattr(
            streams_c,
            "_send",
            lambda *args: be_interrupted_and_send(real, *args),
        )
        around("send_pointed", be_interrupted_and_send)

    return install


@pytest.mark.parametrize("size", [1, COPY_BELOW - 1, COPY_BELOW])
async def test_a_list_is_left_as_it_was(pair, size):
    left, right = pair
    chunks = [b"a" * size, b"b" * size]
    assert await left.send_buffers(chunks) == 2 * size
    assert chunks == [b"a" * size, b"b" * size]
    assert await receive_exactly(right, 2 * size) == b"".join(chunks)


@needs_extension
@pytest.mark.parametrize("change", [list.clear, list.pop, list.reverse])
@pytest.mark.parametrize("size", [1, COPY_BELOW - 1, COPY_BELOW])
async def test_a_list_that_changes_under_way_is_sent_as_it_was(
    pair, meddle, size, change
):
    left, right = pair
    chunks = [bytes([i]) * size for i in range(8)]
    expected = b"".join(chunks)
    meddle(chunks, change)
    assert await left.send_buffers(chunks) == len(expected)
    assert await receive_exactly(right, len(expected)) == expected


@needs_extension
@pytest.mark.parametrize("change", [list.clear, list.pop])
async def test_a_lone_chunk_is_owned_while_it_is_sent(
    small_pair, meddle, change
):
    left, right = small_pair
    chunks = [b"a" * 200_000]
    meddle(chunks, change)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(left.send_buffers, chunks)
        assert await receive_exactly(right, 200_000) == b"a" * 200_000
    assert left.statistics().partial_writes > 0


@needs_extension
@pytest.mark.parametrize("change", [list.clear, list.pop, list.reverse])
@pytest.mark.parametrize("size", [1000, COPY_BELOW - 1])
async def test_a_list_that_changes_is_sent_as_it_was_after_a_short_write(
    small_pair, meddle, size, change
):
    left, right = small_pair
    chunks = [bytes([i]) * size for i in range(60)]
    expected = b"".join(chunks)
    meddle(chunks, change)

    async def send():
        assert await left.send_buffers(chunks) == len(expected)
        assert left.statistics().partial_writes > 0

    async with trio.open_nursery() as nursery:
        nursery.start_soon(send)
        assert await receive_exactly(right, len(expected)) == expected


@needs_extension
async def test_a_list_that_was_refused_waits_before_it_is_sent_again(
    clogged_pair,
):
    left, _ = clogged_pair
    async with trio.open_nursery() as nursery:
        nursery.start_soon(left.send_buffers, [b"a", b"b"])
        await wait_all_tasks_blocked()
        done = left.statistics()
        assert (done.send_calls, done.send_waits) == (1, 1)
        nursery.cancel_scope.cancel()
