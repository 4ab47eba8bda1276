"""Datagrams of many tasks, under schedules that nobody thought of."""

from __future__ import annotations

import contextlib
import random
import time

import pytest
import trio
from needs import needs_unix_sockets
from trio.testing import wait_all_tasks_blocked

from triobatch import Datagrams, DatagramSocket, open_batch_sender


@needs_unix_sockets
@pytest.mark.parametrize("seed", range(40))
async def test_sent_or_withdrawn_and_nothing_in_between(seed):
    choose = random.Random(seed)
    left, right = trio.socket.socketpair(type=trio.socket.SOCK_DGRAM)
    sent, withdrawn, received = [], [], []

    async def send(sender, number):
        for turn in range(10):
            data = b"%d.%d" % (number, turn)
            with trio.CancelScope() as scope:
                if choose.random() < 0.5:
                    scope.deadline = trio.current_time() + choose.choice(
                        [0, 0.0001, 0.001]
                    )
                await sender.send(data)
            (withdrawn if scope.cancelled_caught else sent).append(data)

    async def receive(socket):
        while True:
            batch = await socket.receive_batch(choose.randrange(1, 20))
            received.extend(data for data, _ in batch)
            if choose.random() < 0.3:
                await trio.sleep(0.0005)

    with left, right:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(receive, DatagramSocket(right))
            async with (
                open_batch_sender(DatagramSocket(left)) as sender,
                trio.open_nursery() as senders,
            ):
                for number in range(20):
                    senders.start_soon(send, sender, number)
            with trio.fail_after(60):
                while len(received) < len(sent):
                    await trio.lowlevel.checkpoint()
            await wait_all_tasks_blocked(0.001)
            nursery.cancel_scope.cancel()
    assert sorted(received) == sorted(sent)
    assert set(received).isdisjoint(withdrawn)
    assert sender.statistics().buffered_size == 0


class Schedule:
    """One run: random tasks on one sender, and an end; what became of each."""

    def __init__(self, seed):
        self.choose = random.Random(seed)
        self.sent, self.not_sent, self.queued = [], [], []
        self.received = []

    async def send_some(self, sender, number):
        choose = self.choose
        for turn in range(choose.randrange(20)):
            data = b"%d.%d" % (number, turn)
            scope = trio.CancelScope()
            if choose.random() < 0.3:
                scope.deadline = trio.current_time() + 0.0005
            way = choose.choice([self.send, self.send_batch, self.put])
            try:
                with scope:
                    await way(sender, data)
                if choose.random() < 0.2:
                    await sender.flush()
            except trio.ClosedResourceError:
                return

    async def send(self, sender, data):
        try:
            await sender.send(data)
        except BaseException:
            self.not_sent.append(data)
            raise
        self.sent.append(data)

    async def send_batch(self, sender, data):
        batch = [data + b"/%d" % part for part in range(5)]
        datagrams = Datagrams([(part, None) for part in batch])
        try:
            await sender.send_batch(datagrams)
        finally:
            left = [part for part, _ in datagrams]
            self.not_sent += left
            self.sent += [part for part in batch if part not in left]

    async def put(self, sender, data):
        sender.send_nowait(data)
        self.queued.append(data)
        await trio.lowlevel.checkpoint()

    async def receive(self, socket):
        while True:
            batch = await socket.receive_batch(self.choose.randrange(1, 20))
            self.received += [data for data, _ in batch]
            if self.choose.random() < 0.3:
                await trio.lowlevel.checkpoint()

    async def run(self, target, end):
        expected = contextlib.suppress(
            ZeroDivisionError, trio.ClosedResourceError
        )
        with trio.CancelScope() as scope:
            async with trio.open_nursery() as nursery:
                with expected:
                    await self.run_block(target, end, nursery, scope)

    async def run_block(self, target, end, nursery, scope):
        async with open_batch_sender(
            target, max_buffered=2**20
        ) as self.sender:
            for number in range(15):
                nursery.start_soon(self.send_some, self.sender, number)
            for _ in range(self.choose.randrange(30)):
                await trio.lowlevel.checkpoint()
            if end == "raise":
                1 / 0  # noqa: B018
            elif end == "cancel":
                scope.cancel()
            elif end == "close":
                await target.aclose()


@pytest.mark.parametrize("end", ["leave", "raise", "cancel", "close"])
@pytest.mark.parametrize("seed", range(15))
async def test_each_has_one_outcome_however_the_block_ends(
    datagram_pair, seed, end
):
    left, right = datagram_pair
    schedule = Schedule(seed)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(schedule.receive, right)
        with trio.fail_after(60):
            await schedule.run(left, end)
        await wait_all_tasks_blocked(0.001)
        nursery.cancel_scope.cancel()
    unsent = [data for data, _ in schedule.sender.unsent]
    received = schedule.received
    assert sorted(received + unsent) == sorted(schedule.sent + schedule.queued)
    assert set(received).isdisjoint(schedule.not_sent)
    assert set(received).isdisjoint(unsent)
    done = schedule.sender.statistics()
    assert done.messages == len(received)
    assert (done.buffered_size, done.waiting) == (0, 0)
    if end == "leave":
        assert unsent == []


@pytest.mark.slow
async def test_cancelling_many_takes_as_long_each_as_cancelling_few(
    datagram_pair,
):
    left, _right = datagram_pair

    async def time_cancelling(count):
        with trio.CancelScope() as scope:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(sender.send_batch, [(b"x", None)] * count)
                await wait_all_tasks_blocked()
                start = time.process_time()
                scope.cancel()
        return (time.process_time() - start) / count

    # Until nothing goes.
    with pytest.raises(trio.WouldBlock):
        while True:
            left.send_nowait(b"x")
    async with open_batch_sender(left) as sender:
        few = min([await time_cancelling(2000) for _ in range(5)])
        many = min([await time_cancelling(40_000) for _ in range(3)])
    assert many < 5 * few
