"""Runs on their way: what becomes messages, and every outcome."""

import errno

import pytest
import trio
from helpers import address_of, received
from hypothesis import given
from hypothesis import strategies as st
from receive_buffer import needs_room
from trio.testing import assert_checkpoints, wait_all_tasks_blocked

from triobatch import capabilities
from triobatch._core import calls
from triobatch._datagrams.errors import DatagramErrorGroup
from triobatch._datagrams.gso import NO_SEGMENTATION, Limit
from triobatch._datagrams.run import Run
from triobatch._datagrams.run_dispatch import plan

needs_gso = pytest.mark.skipif(
    capabilities().gso_segments == 1, reason="needs UDP_SEGMENT"
)
NUMBERED = [(b"%d" % i).ljust(100) for i in range(60)]
# Six runs of ten, the last one with a shorter end.
RUNS = [
    Run(b"".join(NUMBERED[i : i + 10])[: 1000 - (i == 50) * 30], 100)
    for i in range(0, 60, 10)
]
DATAGRAMS = [bytes(datagram) for run in RUNS for datagram in run]


@pytest.fixture
async def hosts(make_socket):
    return await make_socket(), await make_socket()


@pytest.mark.parametrize(
    ("runs", "limit", "expected"),
    [
        ([], Limit(64), ([], [], [])),
        ([(b"", 0)], Limit(64), ([b""], [0], [1])),
        ([(b"", 5)], Limit(64), ([b""], [0], [1])),
        ([(b"abc", 3)], Limit(64), ([b"abc"], [0], [1])),
        ([(b"abc", 9)], Limit(64), ([b"abc"], [0], [1])),
        ([(b"abc", 2)], Limit(64), ([b"abc"], [2], [2])),
        # Each limit, at it and beyond.
        ([(b"abcd", 1)], Limit(4), ([b"abcd"], [1], [4])),
        ([(b"abcd", 1)], Limit(3), ([b"abc", b"d"], [1, 0], [3, 1])),
        ([(b"abcd", 2)], Limit(9, 4), ([b"abcd"], [2], [2])),
        ([(b"abcd", 2)], Limit(9, 3), ([b"ab", b"cd"], [0, 0], [1, 1])),
        ([(b"abcd", 2)], Limit(9, 9, 2), ([b"abcd"], [2], [2])),
        ([(b"abcd", 2)], Limit(9, 9, 1), ([b"ab", b"cd"], [0, 0], [1, 1])),
        ([(b"abc", 2)], NO_SEGMENTATION, ([b"ab", b"c"], [0, 0], [1, 1])),
        # Neighbours stay what they are.
        ([(b"ab", 1)] * 2, Limit(64), ([b"ab"] * 2, [1, 1], [2, 2])),
    ],
)
def test_runs_are_messages_as_far_as_the_limit_goes(runs, limit, expected):
    assert plan(runs, limit) == expected


@given(
    st.lists(st.tuples(st.binary(max_size=30), st.integers(1, 12))),
    st.builds(Limit, st.integers(1, 5), st.integers(1, 20), st.just(8)),
)
def test_a_plan_keeps_every_datagram(runs, limit):
    payloads, segment_sizes, counts = plan(runs, limit)
    cut = []
    for payload, segment_size, count in zip(
        payloads, segment_sizes, counts, strict=True
    ):
        step = segment_size or len(payload) or 1
        pieces = [
            payload[start : start + step]
            for start in range(0, len(payload) or 1, step)
        ]
        assert len(pieces) == count
        if segment_size:
            assert 1 < count <= limit.segments
            assert len(payload) <= limit.size
            assert segment_size <= limit.segment_size
        cut += pieces
    assert cut == [bytes(d) for data, size in runs for d in Run(data, size)]


@needs_gso
async def test_each_run_is_a_message_of_one_call(hosts, play):
    sender, receiver = hosts
    script, _ = play(sender)
    with assert_checkpoints():
        assert await sender.send_runs(RUNS, address_of(receiver)) == 60
    assert script.offered == [[1000] * 5 + [970]]
    statistics = sender.statistics()
    assert (statistics.send_calls, statistics.gso_runs) == (1, 6)
    assert statistics.datagrams_sent == 60
    assert await received(receiver) == DATAGRAMS


async def test_more_than_a_call_takes_go_with_the_next(hosts, play):
    sender, receiver = hosts
    script, _ = play(sender)
    most = calls.MAX_MESSAGES
    runs = [Run(b"%d" % i, 9) for i in range(2 * most + 1)]
    assert await sender.send_runs(runs, address_of(receiver)) == 2 * most + 1
    assert list(map(len, script.offered)) == [most, most, 1]
    assert await received(receiver) == [bytes(run.data) for run in runs]


@needs_gso
@pytest.mark.parametrize("refusal", ["EIO", "EINVAL", "EMSGSIZE"])
@pytest.mark.parametrize("before", [0, 2])
async def test_a_run_that_gso_refuses_goes_datagram_by_datagram(
    hosts, play, refusal, before
):
    sender, receiver = hosts
    tries = 2 if refusal == "EMSGSIZE" else 1
    script, _ = play(sender, [before] * (before > 0) + [refusal] * tries)
    assert await sender.send_runs(RUNS, address_of(receiver)) == 60
    # Nothing twice, nothing dropped.
    assert await received(receiver) == DATAGRAMS
    assert sender.statistics().gso_refusals == {refusal: 1}
    # It rests for this destination.
    offered = len(script.offered)
    assert await sender.send_runs(RUNS[:2], address_of(receiver)) == 20
    assert script.offered[offered:] == [[100] * 20]
    assert await received(receiver) == DATAGRAMS[:20]


@needs_gso
async def test_a_refused_datagram_has_its_index_in_all_runs(hosts, play):
    sender, receiver = hosts
    # Three runs go. The fourth is refused, and so is its second datagram.
    play(sender, [3, "EPERM", 1, "EPERM"])
    with pytest.raises(DatagramErrorGroup) as info:
        await sender.send_runs(RUNS, address_of(receiver))
    [error] = info.value.exceptions
    assert (error.index, error.errno) == (31, errno.EPERM)
    assert (info.value.sent, info.value.left) == (59, 0)
    assert await received(receiver) == DATAGRAMS[:31] + DATAGRAMS[32:]


@needs_gso
async def test_a_refused_datagram_can_be_ignored(hosts, play):
    sender, receiver = hosts
    play(sender, [3, "EPERM", 1, "EPERM"])
    sent = await sender.send_runs(RUNS, address_of(receiver), errors="ignore")
    assert sent == 59
    assert sender.statistics().refused == 1
    assert await received(receiver) == DATAGRAMS[:31] + DATAGRAMS[32:]


@pytest.mark.parametrize("script", [["EAGAIN"], [1, "EAGAIN"], ["ENOBUFS"]])
async def test_runs_wait_for_room(hosts, play, script):
    sender, receiver = hosts
    play(sender, script)
    with assert_checkpoints():
        assert await sender.send_runs(RUNS, address_of(receiver)) == 60
    assert await received(receiver) == DATAGRAMS


async def test_what_does_not_wait_sends_what_goes(hosts, play):
    sender, receiver = hosts
    play(sender, ["EAGAIN"])
    with pytest.raises(trio.WouldBlock):
        sender.send_runs_nowait(RUNS, address_of(receiver))
    count = RUNS[0].count if capabilities().gso_segments > 1 else 1
    play(sender, [1, "EAGAIN"])
    assert sender.send_runs_nowait(RUNS, address_of(receiver)) == count
    assert await received(receiver) == DATAGRAMS[:count]
    assert sender.send_runs_nowait(RUNS, address_of(receiver)) == 60
    assert await received(receiver) == DATAGRAMS


async def test_a_cancelled_call_has_sent_from_the_front(hosts, play):
    sender, receiver = hosts
    play(sender, [2, *["EAGAIN"] * 1000])
    with trio.CancelScope() as scope:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(sender.send_runs, RUNS, address_of(receiver))
            await wait_all_tasks_blocked(0.01)
            scope.cancel()
    assert scope.cancelled_caught
    arrived = await received(receiver)
    assert arrived
    assert arrived == DATAGRAMS[: len(arrived)]
    assert sender.statistics().datagrams_sent == len(arrived)


@needs_room
async def test_nothing_keeps_the_memory_after_a_call(hosts, play):
    sender, receiver = hosts
    memory = bytearray(b"".join(DATAGRAMS))
    for script in [], ["EIO"], ["EPERM"] * 3, ["EBADF"], [1, "EIO", "EBADF"]:
        runs = [Run(memory[:500], 100), Run(memory, 100)]
        run = runs[1]
        play(sender, script)
        try:
            await sender.send_runs(runs, address_of(receiver))
        except (OSError, DatagramErrorGroup, trio.ClosedResourceError) as exc:
            error = exc
        run.data.release()
        memory.append(0)
        await received(receiver)
    # It is there, with its traceback.
    assert error is not None
