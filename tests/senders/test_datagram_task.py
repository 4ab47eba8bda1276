"""The task that sends: its first call, and who is told of what it took."""

from __future__ import annotations

import errno

import pytest
import trio
from helpers import receive_all
from trio.testing import wait_all_tasks_blocked

from triobatch import DatagramErrorGroup, Datagrams, open_batch_sender
from triobatch._core.probes import gso_segments
from triobatch.testing import os_error, scripted_calls

# One more than go in the first message, where the kernel cuts messages up.
COUNT = gso_segments() + 1
PAYLOADS = [b"%04d" % i for i in range(COUNT)]


def queued(address):
    return Datagrams((payload, address) for payload in PAYLOADS)


def payloads_of(queue):
    return [payload for payload, _ in queue]


@pytest.mark.parametrize(
    "script",
    [
        [],
        [1],
        [os_error(errno.EAGAIN)],
        [1, os_error(errno.EAGAIN)],
        [os_error(errno.ENOBUFS)],
        [os_error(errno.ECONNREFUSED)],
    ],
)
async def test_whatever_the_first_call_takes_the_rest_follows(
    udp_pair, script
):
    left, right, address = udp_pair
    with scripted_calls(left, sending=script) as (sent, _):
        async with open_batch_sender(left) as sender:
            assert await sender.send_batch(queued(address)) == COUNT
            assert sender.statistics().messages == COUNT
            assert sender.statistics().batches == 1
    assert sent.left == []
    assert left.statistics().send_calls == len(sent.offered)
    assert await receive_all(right, COUNT) == PAYLOADS


async def test_a_refusal_behind_what_the_first_call_took_has_its_index(
    udp_pair,
):
    left, right, address = udp_pair
    script = [1, os_error(errno.EINVAL)]
    queue = queued(address)
    with scripted_calls(left, sending=script):
        async with open_batch_sender(left) as sender:
            with pytest.raises(DatagramErrorGroup) as refused:
                await sender.send_batch(queue)
            assert sender.statistics().refused == 1
    assert [e.index for e in refused.value.exceptions] == [COUNT - 1]
    assert refused.value.sent == COUNT - 1
    assert payloads_of(queue) == PAYLOADS[-1:]
    assert await receive_all(right, COUNT - 1) == PAYLOADS[:-1]


@pytest.mark.parametrize("messages", [[], [1]])
async def test_what_a_failed_socket_left_is_unsent(udp_pair, messages):
    left, right, address = udp_pair
    script = [*messages, os_error(errno.EPIPE)]
    with (
        scripted_calls(left, sending=script),
        pytest.raises(trio.BrokenResourceError),
    ):
        async with open_batch_sender(left) as sender:
            for payload in PAYLOADS:
                sender.send_nowait(payload, address)
            await sender.flush()
    gone = COUNT - 1 if messages else 0
    assert payloads_of(sender.unsent) == PAYLOADS[gone:]
    assert sender.statistics().messages == gone
    assert await receive_all(right, gone) == PAYLOADS[:gone]


@pytest.mark.parametrize("cancel", [False, True])
async def test_a_batch_waits_for_who_has_the_turn(stuck_pair, cancel):
    left, right = stuck_pair
    async with open_batch_sender(left) as sender, trio.open_nursery() as tasks:
        tasks.start_soon(left.send, b"of the socket itself")
        await wait_all_tasks_blocked()
        scope = trio.CancelScope()
        batch = Datagrams([(b"a", None), (b"b", None)])

        async def send_batch():
            with scope:
                assert await sender.send_batch(batch) == 2

        tasks.start_soon(send_batch)
        await wait_all_tasks_blocked()
        if cancel:
            scope.cancel()
            await wait_all_tasks_blocked()
            assert len(batch) == 2
        last = b"of the socket itself" if cancel else b"b"
        found = []
        while found[-1:] != [last]:
            found += [payload for payload, _ in await right.receive_batch()]
        assert found[-3:].count(b"of the socket itself") == 1
    with pytest.raises(trio.WouldBlock):
        right.receive_nowait()
    assert len(batch) == (2 if cancel else 0)


async def test_a_batch_overtakes_nobody_who_pauses(udp_pair, autojump_clock):
    left, right, address = udp_pair
    with scripted_calls(left, sending=[os_error(errno.ENOBUFS)]) as (sent, _):
        async with (
            open_batch_sender(left) as sender,
            trio.open_nursery() as tasks,
        ):
            tasks.start_soon(left.send, b"first", address)
            await wait_all_tasks_blocked()
            sender.send_nowait(b"second", address)
            await wait_all_tasks_blocked()
            assert len(sent.offered) == 1
    assert await receive_all(right, 2) == [b"first", b"second"]


async def test_what_the_first_call_came_to_is_waited_for(
    udp_pair, autojump_clock
):
    left, right, address = udp_pair
    with scripted_calls(left, sending=[os_error(errno.ENOBUFS)]):
        async with open_batch_sender(left) as sender:
            start = trio.current_time()
            await sender.send(b"x", address)
            assert trio.current_time() - start == pytest.approx(0.001)
    assert await receive_all(right, 1) == [b"x"]
