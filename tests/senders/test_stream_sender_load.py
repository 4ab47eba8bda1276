"""A batch sender under load, and under schedules that nobody thought of."""

from __future__ import annotations

import random
import struct

import pytest
import trio

import triobatch
from triobatch import BatchSocketStream, open_batch_sender

TASKS = 1000
TURNS = 100
HEADER = struct.Struct("!HHH")


@pytest.fixture
async def connection(request, pair, tls):
    """Two connected streams, over TCP or TLS."""
    left, right = pair
    if request.param == "tls":
        left = trio.SSLStream(left, tls[0], server_hostname="localhost")
        right = trio.SSLStream(right, tls[1], server_side=True)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(left.do_handshake)
            nursery.start_soon(right.do_handshake)
    return left, right


def message(task, turn):
    # Of many sizes, so that a lost byte would show.
    body = b"%d" % (task * turn) * (turn % 7)
    return HEADER.pack(task, turn, len(body)) + body


@pytest.mark.slow
@pytest.mark.parametrize("family", ["tcp"])
@pytest.mark.parametrize("connection", ["tcp", "tls"], indirect=True)
async def test_a_thousand_tasks_send_a_hundred_messages_each(connection):
    left, right = connection
    limit = 20_000

    async def send(sender, task):
        for turn in range(TURNS):
            await sender.send(message(task, turn))

    async def send_all():
        async with (
            open_batch_sender(left, max_buffered=limit) as sender,
            trio.open_nursery() as nursery,
        ):
            for task in range(TASKS):
                nursery.start_soon(send, sender, task)
        await left.aclose()
        return sender.statistics()

    next_turn = [0] * TASKS

    def check(received):
        while len(received) >= HEADER.size:
            task, turn, size = HEADER.unpack_from(received)
            if len(received) < HEADER.size + size:
                return
            assert turn == next_turn[task]
            assert received.startswith(message(task, turn))
            next_turn[task] += 1
            del received[: HEADER.size + size]

    done = None
    async with trio.open_nursery() as nursery:

        async def run_senders():
            nonlocal done
            done = await send_all()

        nursery.start_soon(run_senders)
        received = bytearray()
        async for data in right:
            received += data
            check(received)
    assert received == b""
    assert next_turn == [TURNS] * TASKS
    assert done.messages == TASKS * TURNS
    assert done.messages / done.batches > 50
    longest = max(len(message(TASKS - 1, turn)) for turn in range(TURNS))
    assert done.peak_size <= limit + longest


class Schedule:
    """One run: random tasks on one sender, and what became of each message."""

    def __init__(self, seed):
        self.choose = random.Random(seed)
        self.queued = []
        # Cancelled or refused: never to be seen.
        self.withdrawn = []
        self.flushed = 0
        self.received = bytearray()

    async def run(self, left, right, reset):
        end = self.choose.choice(
            ["leave", "raise", "cancel", "reset", "close"]
        )
        with trio.move_on_after(60) as deadline:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self.read, right)
                try:
                    await self.send(nursery, left, right, reset, end)
                except ZeroDivisionError:
                    assert end == "raise"
                except trio.BrokenResourceError:
                    assert end == "reset"
                except trio.ClosedResourceError:
                    assert end == "close"
                # The tasks that still want to send are told that they cannot.
                await left.aclose()
                if end == "reset":
                    await right.aclose()
        assert not deadline.cancelled_caught
        return end

    async def send(self, nursery, left, right, reset, end):
        choose = self.choose
        with trio.CancelScope() as scope:
            async with open_batch_sender(
                left, max_buffered=choose.choice([0, 100, 10_000]), grace=5
            ) as self.sender:
                for number in range(choose.randrange(1, 12)):
                    nursery.start_soon(self.send_some, number)
                for _ in range(choose.randrange(30)):
                    await trio.lowlevel.checkpoint()
                if end == "raise":
                    1 / 0  # noqa: B018
                elif end == "cancel":
                    scope.cancel()
                elif end == "reset":
                    await reset(right)
                elif end == "close":
                    await left.aclose()

    async def send_some(self, number):
        choose = self.choose
        for turn in range(choose.randrange(20)):
            name = b"<%d.%d:" % (number, turn)
            data = name + b"x" * choose.choice([0, 10, 100, 30_000]) + b">"
            scope = trio.CancelScope()
            if choose.random() < 0.2:
                scope.deadline = trio.current_time() + 0.0005
            try:
                if choose.random() < 0.2:
                    await self.flush()
                with scope:
                    await self.queue(data)
            except (trio.BrokenResourceError, trio.ClosedResourceError):
                self.withdrawn.append(name)
                return
            if scope.cancelled_caught:
                self.withdrawn.append(name)

    async def queue(self, data):
        # Room comes in the order of the calls, but a withdrawn call has no
        # place: so each task's own order is what can be told from here.
        if self.choose.random() < 0.3:
            try:
                self.sender.send_nowait(data)
            except trio.WouldBlock:
                await self.sender.send(data)
        else:
            await self.sender.send(data)
        self.queued.append(data)

    async def flush(self):
        before = sum(map(len, self.queued))
        await self.sender.flush()
        self.flushed = max(self.flushed, before)

    async def read(self, right):
        try:
            while data := await right.receive_some(
                self.choose.choice([100, 5000, 100_000])
            ):
                self.received += data
                if self.choose.random() < 0.3:
                    await trio.lowlevel.checkpoint()
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            pass


def split(received):
    return [part + b">" for part in bytes(received).split(b">")[:-1]]


def by_task(messages):
    tasks = {}
    for data in messages:
        tasks.setdefault(data[: data.index(b".")], []).append(data)
    return tasks


@pytest.mark.parametrize("seed", range(60))
async def test_nothing_is_lost_or_sent_twice_under_any_schedule(
    seed, small_pair, reset
):
    left, right = small_pair
    schedule = Schedule(seed)
    end = await schedule.run(left, right, reset)
    sender = schedule.sender
    arrived = split(schedule.received)
    kept = len(sender.unsent) + bool(sender.unfinished)
    done = sender.statistics()
    assert done.messages == len(schedule.queued) - kept
    assert (done.buffered_size, done.waiting) == (0, 0)
    # What was cancelled, or refused, was not sent.
    names = {data[: data.index(b":") + 1] for data in arrived}
    names |= {data[: data.index(b":") + 1] for data in sender.unsent}
    assert names.isdisjoint(schedule.withdrawn)
    if end in ("leave", "raise", "cancel"):
        # Whole messages, and the others in hand; in the order of each task.
        assert sender.unfinished == b""
        assert b"".join(arrived) == schedule.received
        assert by_task(arrived + sender.unsent) == by_task(schedule.queued)
        assert len(schedule.received) >= schedule.flushed
    elif end == "close":
        rest = bytes(schedule.received)[sum(map(len, arrived)) :]
        if rest or sender.unfinished:
            arrived.append(rest + sender.unfinished)
        assert by_task(arrived + sender.unsent) == by_task(schedule.queued)
    assert isinstance(left, BatchSocketStream)
    if end == "leave":
        assert sender.unsent == []


@pytest.mark.parametrize("family", ["tcp"])
@pytest.mark.parametrize("connection", ["tls"], indirect=True)
async def test_through_tls_leaving_by_an_exception_keeps_it_usable(connection):
    left, right = connection
    received = bytearray()

    async def receive():
        async for data in right:
            received.extend(data)

    messages = [b"%04d;" % number * 1000 for number in range(200)]
    async with trio.open_nursery() as nursery:
        with pytest.raises(ZeroDivisionError):
            async with open_batch_sender(
                left, max_buffered=2**30, grace=60
            ) as sender:
                for data in messages:
                    sender.send_nowait(data)
                await trio.lowlevel.checkpoint()
                nursery.start_soon(receive)
                1 / 0  # noqa: B018
        await triobatch.send_buffers(left, sender.unsent)
        await left.aclose()
    assert received == b"".join(messages)
