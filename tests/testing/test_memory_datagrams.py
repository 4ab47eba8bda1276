"""A pair of datagram sockets in memory: what it alone does.

What it has in common with the others is in
``tests/datagrams/test_abstract_socket.py``.
"""

from __future__ import annotations

import errno
import itertools

import pytest
import trio
from needs import needs_metadata
from trio.testing import MockClock, wait_all_tasks_blocked

from triobatch import (
    DatagramError,
    DatagramErrorGroup,
    Datagrams,
    Metadata,
    TruncatedDatagramError,
    open_batch_sender,
)
from triobatch.testing import memory_datagram_pair, os_error


async def test_the_ends_have_names():
    left, right = memory_datagram_pair()
    assert (left.address, right.address) == ("left", "right")
    await left.send(b"x", right.address)
    assert await right.receive() == (b"x", left.address)
    with pytest.raises(DatagramError) as caught:
        await left.send(b"x", "elsewhere")
    assert caught.value.errno == errno.ENOENT


async def test_an_end_holds_exactly_as_many_as_it_is_given():
    left, right = memory_datagram_pair(max_queued=2)
    assert left.send_many_nowait([b"a", b"b", b"c"], "right") == 2
    with pytest.raises(trio.WouldBlock):
        left.send_many_nowait([b"d"])
    # What was not asked for still counts.
    assert right.receive_nowait() == (b"a", "left")
    assert left.send_segments_nowait(b"efg", 1) == 1
    assert right.receive_batch_nowait() == [(b"b", "left"), (b"e", "left")]


async def test_without_a_limit_it_holds_all():
    left, right = memory_datagram_pair()
    assert left.send_many_nowait([b"x"] * 1000) == 1000
    received = 0
    while received < 1000:
        received += len(right.receive_batch_nowait(1000))


@pytest.mark.parametrize(
    ("wrong", "error"), [(0, ValueError), (-1, ValueError), (1.5, TypeError)]
)
def test_the_limit_is_a_positive_integer(wrong, error):
    with pytest.raises(error):
        memory_datagram_pair(max_queued=wrong)


async def test_a_link_loses_and_doubles():
    fates = itertools.cycle([0, 1, 2])
    left, right = memory_datagram_pair(link=lambda data: [data] * next(fates))
    assert await left.send_many([b"lost", b"once", b"twice"]) == 3
    received = await right.receive_batch()
    assert [data for data, _ in received] == [b"once", b"twice", b"twice"]


async def test_a_link_refuses():
    def link(data):
        if data == b"bad":
            raise os_error(errno.EPERM)
        return [data]

    left, right = memory_datagram_pair(link=link)
    queue = Datagrams([(b"a", None), (b"bad", None), (b"b", None)])
    with pytest.raises(DatagramErrorGroup) as caught:
        await left.send_batch(queue)
    assert [error.errno for error in caught.value.exceptions] == [errno.EPERM]
    assert [payload for payload, _ in queue] == [b"bad"]
    received = [payload for payload, _ in await right.receive_batch()]
    assert received == [b"a", b"b"]


@pytest.mark.parametrize("result", [["text"], 5])
async def test_a_link_that_fails_loses_and_repeats_nothing(result):
    left, right = memory_datagram_pair(
        link=lambda data: result if data == b"bad" else [data]
    )
    queue = Datagrams([(b"a", None), (b"bad", None), (b"b", None)])
    with pytest.raises(TypeError):
        await left.send_batch(queue)
    assert [payload for payload, _ in queue] == [b"bad", b"b"]
    assert right.receive_batch_nowait() == [(b"a", "left")]


async def test_what_a_link_makes_too_large_is_truncated():
    left, right = memory_datagram_pair(link=lambda data: [data * 2])
    await left.send(bytes(40000))
    with pytest.raises(TruncatedDatagramError) as caught:
        await right.receive()
    assert caught.value.size == 80000
    assert right.statistics().truncated == 1


@needs_metadata
async def test_metadata_come_without_being_asked_for():
    left, right = memory_datagram_pair()
    asked = Metadata(tos=1, ttl=2, local_address="192.0.2.1")
    await left.send(b"x", metadata=asked)
    await left.send(b"y")
    first, second = await right.receive_messages()
    assert first.metadata == Metadata(tos=1, ttl=2)
    assert second.metadata == Metadata()
    assert first.timestamp is None


async def test_what_came_before_the_other_end_closed_can_be_received():
    left, right = memory_datagram_pair()
    await right.send(b"kept")
    await right.aclose()
    with pytest.raises(DatagramError):
        await left.send(b"x")
    assert await left.receive() == (b"kept", "right")


async def test_what_was_not_received_is_lost_at_the_close():
    left, right = memory_datagram_pair()
    await left.send(b"x")
    await right.aclose()
    with pytest.raises(trio.ClosedResourceError):
        right.receive_nowait()


def test_it_works_with_a_clock_that_jumps():
    async def main():
        left, right = memory_datagram_pair(max_queued=1)

        async def answer_late():
            while True:
                payload, _ = await right.receive()
                await trio.sleep(1000)
                await right.send(payload)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(answer_late)
            for number in range(3):
                await left.send(b"%d" % number)
                with trio.move_on_after(999) as scope:
                    await left.receive()
                assert scope.cancelled_caught
                assert await left.receive() == (b"%d" % number, "right")
            async with open_batch_sender(left) as sender:
                sender.send_nowait(b"x")
                await sender.send_batch([(b"y", None), (b"z", "right")])
            nursery.cancel_scope.cancel()
        assert trio.current_time() - start >= 3000

    clock = MockClock(autojump_threshold=0)
    start = clock.current_time()
    trio.run(main, clock=clock)


async def test_the_same_program_gives_the_same_again():
    async def run():
        left, right = memory_datagram_pair(max_queued=3)
        log = []

        async def receive():
            while True:
                log.append(await right.receive_batch())
                await trio.lowlevel.checkpoint()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(receive)
            await left.send_many([b"%d" % number for number in range(100)])
            await wait_all_tasks_blocked()
            nursery.cancel_scope.cancel()
        return [payload for batch in log for payload, _ in batch]

    assert await run() == [b"%d" % number for number in range(100)]
    assert await run() == await run()
