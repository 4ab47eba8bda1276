"""Datagrams of many tasks, under schedules that nobody thought of."""

from __future__ import annotations

import random

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from triobatch import DatagramSocket, open_batch_sender


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
            with trio.fail_after(10):
                while len(received) < len(sent):
                    await trio.lowlevel.checkpoint()
            await wait_all_tasks_blocked(0.001)
            nursery.cancel_scope.cancel()
    assert sorted(received) == sorted(sent)
    assert set(received).isdisjoint(withdrawn)
    assert sender.statistics().buffered_size == 0
