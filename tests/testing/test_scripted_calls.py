"""System calls that do what a test wants, and what they were offered."""

from __future__ import annotations

import errno

import pytest
import trio
from helpers import receive_exactly

import triobatch
from triobatch import Buffers, Datagrams, broadcast_nowait, capabilities
from triobatch._core.arena import SLOT_SIZE
from triobatch.testing import os_error, scripted_calls

AGAIN = os_error(errno.EAGAIN)
INTERRUPTED = os_error(errno.EINTR)


@pytest.mark.parametrize(
    "chunks",
    [[b"abcd", b"efgh", b"ij"], [b"abcdefgh" * 1000, b"ij" * 1000]],
    ids=["small", "large"],
)
@pytest.mark.parametrize("kind", [list, Buffers])
async def test_short_counts_and_errors_that_pass(pair, chunks, kind):
    left, right = pair
    whole = b"".join(chunks)
    script = [3, AGAIN, INTERRUPTED, 1, 5, None]
    with scripted_calls(left, sending=script) as (sent, _):
        assert await left.send_buffers(kind(chunks)) == len(whole)
        assert await receive_exactly(right, len(whole)) == whole
    assert sent.log == script
    assert sent.left == []
    # EINTR is no call of its own.
    assert left.statistics().send_calls == 5
    assert left.statistics().send_waits >= 3


async def test_an_error_that_stays_leaves_what_was_not_sent(pair):
    left, right = pair
    buffers = Buffers([b"abcd", b"efgh"])
    script = [6, os_error(errno.ECONNRESET), 1]
    with (
        scripted_calls(left, sending=script) as (sent, _),
        pytest.raises(trio.BrokenResourceError),
    ):
        await left.send_buffers(buffers)
    assert sent.left == [1]
    assert bytes(buffers) == b"gh"
    # The socket itself is well.
    await left.send_buffers(buffers)
    assert await receive_exactly(right, 8) == b"abcdefgh"


async def test_receiving_follows_a_script_too(pair):
    left, right = pair
    await left.send_all(b"abcdefgh")
    script = [AGAIN, 2, 3, os_error(errno.EIO)]
    with scripted_calls(right, receiving=script):
        assert await right.receive_some() == b"ab"
        room = bytearray(2), bytearray(5)
        assert await right.receive_into(room) == 3
        assert room == (b"cd", b"e\0\0\0\0")
        with pytest.raises(trio.BrokenResourceError):
            await right.receive_some()
    assert await right.receive_some() == b"fgh"


async def test_only_the_socket_in_question_is_scripted(pair):
    left, right = pair
    with scripted_calls(left, sending=[1]) as (sent, _):
        await right.send_buffers([b"not scripted"])
        assert await left.receive_some() == b"not scripted"
        result = broadcast_nowait([right, left], b"abc")
    assert sent.left == []
    assert [delivery.sent for delivery in result] == [3, 1]


async def test_datagrams_follow_a_script(make_socket):
    left, right = await make_socket(), await make_socket()
    address = right.socket.getsockname()
    # Each larger than the last, so that they make no run.
    payloads = [b"%d" % i * (i + 1) for i in range(4)]
    batch = Datagrams([(data, address) for data in payloads])
    script = [1, os_error(errno.ENOBUFS), 2, None]
    with scripted_calls(left, sending=script) as (sent, _):
        assert await left.send_batch(batch) == 4
    assert sent.left == []
    with scripted_calls(right, receiving=[AGAIN]):
        received = []
        while len(received) < 4:
            received += [data for data, _ in await right.receive_batch()]
    assert received == payloads
    # A kernel that does not cut up a run after all.
    if capabilities().gso_segments > 1:
        with scripted_calls(left, sending=[os_error(errno.EIO)]):
            assert await left.send_batch([(b"x" * 100, address)] * 4) == 4


SENDS = {
    "send_batch": lambda sock, payloads, address: sock.send_batch(
        [(payload, address) for payload in payloads]
    ),
    "send_many": lambda sock, payloads, address: sock.send_many(
        payloads, address
    ),
    "send_segments": lambda sock, payloads, address: sock.send_segments(
        b"".join(payloads), len(payloads[0]), address
    ),
    "send_runs": lambda sock, payloads, address: sock.send_runs(
        [triobatch.Run(b"".join(payloads), len(payloads[0]))], address
    ),
}
# What the kernel cuts up makes one message, elsewhere each is one.
RUN = [20] if capabilities().gso_segments > 1 else [2] * 10


@pytest.mark.parametrize("send", SENDS.values(), ids=SENDS)
@pytest.mark.parametrize(
    ("count", "steps", "offered"),
    [
        (10, [], [RUN]),
        (10, [1], [RUN[step:] for step in range(min(2, len(RUN)))]),
        (10, [10], [RUN]),
        (10, [AGAIN, 1], [RUN] * 2 + [RUN[1:]] * (len(RUN) > 1)),
        (1, [1], [[2]]),
    ],
)
async def test_a_run_is_one_message_whatever_sends_it(
    make_socket, send, count, steps, offered
):
    left, right = await make_socket(), await make_socket()
    payloads = [b"%02d" % i for i in range(count)]
    address = right.socket.getsockname()
    with scripted_calls(left, sending=steps) as (sent, _):
        assert await send(left, payloads, address) == count
    assert sent.log == steps
    assert sent.offered == offered
    assert left.statistics().send_calls == len(offered)
    received = []
    while len(received) < count:
        received += [data for data, _ in await right.receive_batch()]
    assert received == payloads


@pytest.mark.skipif(capabilities().gso_segments == 1, reason="needs UDP GSO")
@pytest.mark.parametrize("send", SENDS.values(), ids=SENDS)
async def test_a_step_of_one_takes_one_run_of_several(make_socket, send):
    left, right = await make_socket(), await make_socket()
    run = capabilities().gso_segments
    payloads = [b"%04d" % i for i in range(run + 2)]
    with scripted_calls(left, sending=[1]) as (sent, _):
        await send(left, payloads, right.socket.getsockname())
    assert sent.offered == [[4 * run, 8], [8]]


async def test_datagrams_of_nothing_follow_a_script(make_socket):
    left, right = await make_socket(), await make_socket()
    with scripted_calls(left, sending=[2, AGAIN]) as (sent, _):
        await left.send_many([b""] * 5, right.socket.getsockname())
    assert sent.offered == [[0] * 5, [0] * 3, [0] * 3]


async def test_what_each_call_on_a_stream_offered_is_told(pair):
    left, right = pair
    large = bytes(2**14)
    script = [1, 2**14 - 1, None]
    with (
        scripted_calls(left.socket, sending=script) as (sent, _),
        scripted_calls(right, receiving=[3, 1]) as (_, received),
    ):
        await left.send_buffers([large, large])
        await left.send_all(b"ab")
        await right.receive_some(10)
        await right.receive_into([bytearray(1), bytearray(2)])
        await right.receive_some(5)
    assert sent.log == script
    assert sent.offered == [
        [2**14, 2**14],
        # The rest of a list, in one piece.
        [2**15 - 1],
        [2**14],
        [2],
    ]
    assert received.offered == [[10], [1, 2], [5]]


async def test_the_slots_that_receiving_offers_are_told(make_socket):
    left, right = await make_socket(), await make_socket()
    await left.send_many([b"a", b"bb", b"ccc"], right.socket.getsockname())
    with scripted_calls(right, receiving=[2]) as (_, received):
        assert len(await right.receive_batch()) == 2
        assert len(await right.receive_batch(5)) == 1
    assert [len(slots) for slots in received.offered] == [64, 64]
    assert set(received.offered[0]) == {SLOT_SIZE}


@pytest.mark.parametrize(
    ("step", "error"), [(0, ValueError), (-1, ValueError), ("x", TypeError)]
)
async def test_an_impossible_step_is_refused(pair, step, error):
    with pytest.raises(error), scripted_calls(pair[0], sending=[step]):
        pytest.fail("it was entered")


async def test_a_sender_goes_on_after_each_short_count(pair):
    left, right = pair
    with scripted_calls(left, sending=[1, AGAIN, 2, 3]):
        async with triobatch.open_batch_sender(left) as sender:
            for number in range(10):
                sender.send_nowait(b"%d" % number)
    assert await receive_exactly(right, 10) == b"0123456789"


@pytest.mark.parametrize(
    "chunks",
    [[b"abc", bytearray(b"de")], [b"a" * 2**17, b"b" * 2**17]],
    ids=["not all bytes", "large"],
)
async def test_lists_that_go_the_long_way_follow_it_too(pair, chunks):
    left, right = pair
    whole = b"".join(chunks)
    with scripted_calls(left, sending=[2, AGAIN]) as (sent, _):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(left.send_buffers, chunks)
            assert await receive_exactly(right, len(whole)) == whole
    assert sent.left == []


async def test_a_broadcast_meets_the_errors_of_a_script(pair):
    left, _ = pair
    with scripted_calls(left, sending=[os_error(errno.EPIPE)]):
        [delivery] = broadcast_nowait([left], b"abc")
    assert isinstance(delivery.error, trio.BrokenResourceError)
    assert delivery.sent == 0


async def test_a_list_of_nothing_is_no_call(pair):
    left, _ = pair
    with scripted_calls(left, sending=[1]) as (sent, _):
        assert await left.send_buffers([b"", b""]) == 0
    assert sent.left == [1]
