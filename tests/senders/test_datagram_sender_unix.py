"""A batch sender on an unconnected Unix socket: one peer, and the others."""

from __future__ import annotations

import errno
import random

import pytest
import trio
from needs import needs_own_room
from trio.testing import wait_all_tasks_blocked

from triobatch import open_batch_sender
from triobatch._datagrams import readiness, unix_peer
from triobatch.testing import os_error


@pytest.fixture
async def unix(make_socket):
    """A sender's socket; a function that makes a peer, and its address."""

    async def make_peer():
        peer = await make_socket("unix")
        return peer, peer.socket.getsockname()

    return await make_socket("unix"), make_peer


def fill(target, address, payload=b"filling"):
    """Send until the peer has no room; return how many it took."""
    count = 0
    with pytest.raises(trio.WouldBlock):
        while True:
            target.send_nowait(payload, address)
            count += 1
    return count


async def take(peer, count):
    received = []
    while len(received) < count:
        received += [
            data
            for data, _ in await peer.receive_batch()
            if not data.startswith(b"filling")
        ]
    return received


@needs_own_room
async def test_a_peer_without_room_holds_up_no_other(unix):
    target, make_peer = unix
    stuck, stuck_address = await make_peer()
    free, free_address = await make_peer()
    fill(target, stuck_address)
    async with (
        open_batch_sender(target) as sender,
        trio.open_nursery() as nursery,
    ):
        for number in range(3):
            nursery.start_soon(sender.send, b"%d" % number, stuck_address)
            await trio.lowlevel.checkpoint()
        sender.send_nowait(b"behind", free_address)
        assert await take(free, 1) == [b"behind"]
        # And the next ones, while the first peer still has no room.
        for number in range(50):
            await sender.send(b"%d" % number, free_address)
            assert await take(free, 1) == [b"%d" % number]
        sender.send_nowait(b"3", stuck_address)
        assert sender.statistics().waiting == 3
        assert sorted(await take(stuck, 4)) == [b"0", b"1", b"2", b"3"]


async def test_the_order_to_each_peer_stays(unix):
    target, make_peer = unix
    peers = [await make_peer() for _ in range(5)]
    for _, address in peers[:3]:
        fill(target, address)
    order = [number % 5 for number in range(200)]
    random.Random(1).shuffle(order)
    batch = [
        (b"%03d" % number, peers[peer][1]) for number, peer in enumerate(order)
    ]
    received = [[] for _ in peers]

    async def receive(index):
        while len(received[index]) < 40:
            received[index] += await take(peers[index][0], 1)

    async with (
        open_batch_sender(target) as sender,
        trio.open_nursery() as nursery,
    ):
        nursery.start_soon(sender.send_batch, batch[:120])
        for index in (3, 4):
            nursery.start_soon(receive, index)
        await wait_all_tasks_blocked()
        for data, address in batch[120:]:
            sender.send_nowait(data, address)
        await wait_all_tasks_blocked()
        for index in (0, 1, 2):
            nursery.start_soon(receive, index)
        await sender.flush()
        assert sender.statistics().buffered_size == 0
    for index, (_, address) in enumerate(peers):
        assert received[index] == [d for d, a in batch if a == address]


@needs_own_room
async def test_a_full_buffer_of_the_socket_is_waited_for_as_such(unix):
    target, make_peer = unix
    stuck, stuck_address = await make_peer()
    free, free_address = await make_peer()
    # What the one does not read is more than a quarter of the buffer, at
    # which epoll(7) calls it full for ever; what the other does not read
    # fills it.
    filling = b"filling" + bytes(6000)
    assert fill(target, stuck_address, filling) > 5
    fill(target, free_address, b"filling" + bytes(60_000))
    async with open_batch_sender(target) as sender:
        sender.send_nowait(b"to the stuck", stuck_address)
        sender.send_nowait(b"one", free_address)
        await wait_all_tasks_blocked()
        with trio.fail_after(60):
            assert await take(free, 1) == [b"one"]
        assert await take(stuck, 1) == [b"to the stuck"]


async def test_one_datagram_gets_past_a_buffer_that_another_peer_holds(unix):
    target, make_peer = unix
    _stuck, stuck_address = await make_peer()
    free, free_address = await make_peer()
    fill(target, stuck_address, b"filling" + bytes(6000))
    fill(target, free_address)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(target.send, b"at last", free_address)
        await wait_all_tasks_blocked()
        with trio.fail_after(60):
            assert await take(free, 1) == [b"at last"]


async def test_a_flush_waits_for_what_is_held_up(unix):
    target, make_peer = unix
    stuck, stuck_address = await make_peer()
    fill(target, stuck_address)
    flushed = False

    async def flush(sender):
        nonlocal flushed
        await sender.flush()
        flushed = True

    async with (
        open_batch_sender(target) as sender,
        trio.open_nursery() as nursery,
    ):
        sender.send_nowait(b"held up", stuck_address)
        nursery.start_soon(flush, sender)
        await wait_all_tasks_blocked()
        assert not flushed
        assert await take(stuck, 1) == [b"held up"]
    assert flushed


async def test_what_is_held_up_can_be_withdrawn(unix):
    target, make_peer = unix
    stuck, stuck_address = await make_peer()
    fill(target, stuck_address)
    async with open_batch_sender(target) as sender:
        with trio.CancelScope() as scope:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(sender.send, b"never", stuck_address)
                await wait_all_tasks_blocked()
                scope.cancel()
        # So that leaving has nothing to wait for.
        assert sender.statistics().waiting == 0
        sender.send_nowait(b"after", stuck_address)
        assert await take(stuck, 1) == [b"after"]


async def test_what_is_withdrawn_while_the_block_is_left_ends_it(
    unix, monkeypatch
):
    # Or the next look at the peer would end it, too.
    monkeypatch.setattr(unix_peer, "LOOK_AGAIN", 1000)
    target, make_peer = unix
    _stuck, stuck_address = await make_peer()
    fill(target, stuck_address)
    scope = trio.CancelScope()

    async def send():
        with scope:
            await sender.send(b"never", stuck_address)

    async def cancel():
        await wait_all_tasks_blocked()
        scope.cancel()

    async with (
        trio.open_nursery() as nursery,
        open_batch_sender(target) as sender,
    ):
        nursery.start_soon(send)
        await wait_all_tasks_blocked()
        nursery.start_soon(cancel)
    assert scope.cancelled_caught
    assert sender.statistics().messages == 0


async def test_leaving_ends_the_wait_for_a_peer(unix):
    target, make_peer = unix
    _stuck, stuck_address = await make_peer()
    fill(target, stuck_address)
    with pytest.raises(ZeroDivisionError):
        async with open_batch_sender(target) as sender:
            sender.send_nowait(b"1", stuck_address)
            await wait_all_tasks_blocked()
            sender.send_nowait(b"2", stuck_address)
            1 / 0  # noqa: B018
    assert sender.unsent == [(b"1", stuck_address), (b"2", stuck_address)]
    done = sender.statistics()
    assert (done.buffered_size, done.messages, done.batches) == (0, 0, 0)


async def test_a_peer_that_goes_away_while_it_is_waited_for(unix):
    target, make_peer = unix
    stuck, stuck_address = await make_peer()
    fill(target, stuck_address)
    async with open_batch_sender(target) as sender:
        async with trio.open_nursery() as nursery:

            async def send():
                with pytest.raises(OSError, match="refused"):
                    await sender.send(b"never", stuck_address)

            nursery.start_soon(send)
            await wait_all_tasks_blocked()
            await stuck.aclose()
        assert sender.statistics().refused == 1


async def test_closing_the_socket_ends_the_wait_for_a_peer(unix):
    target, make_peer = unix
    _stuck, stuck_address = await make_peer()
    fill(target, stuck_address)
    with pytest.raises(trio.ClosedResourceError):
        async with open_batch_sender(target) as sender:
            sender.send_nowait(b"1", stuck_address)
            await wait_all_tasks_blocked()
            await target.aclose()
            await sender.flush()
    assert sender.unsent == [(b"1", stuck_address)]


@needs_own_room
async def test_a_wait_that_fails_ends_the_sender_as_a_send_would(
    unix, monkeypatch
):
    target, make_peer = unix
    _stuck, stuck_address = await make_peer()
    fill(target, stuck_address)

    # As from epoll_ctl(2) where all watches are taken.
    async def fail(peer):
        raise os_error(errno.ENOSPC)

    monkeypatch.setattr(readiness, "wait_for_room", fail)
    with pytest.raises(trio.BrokenResourceError, match="No space left"):
        async with open_batch_sender(target) as sender:
            sender.send_nowait(b"1", stuck_address)
            await sender.send(b"2", stuck_address)
    assert sender.unsent == [(b"1", stuck_address)]


@needs_own_room
async def test_a_fault_in_a_wait_crashes_in_one_group(unix, monkeypatch):
    target, make_peer = unix
    _stuck, stuck_address = await make_peer()
    fill(target, stuck_address)

    async def fail(peer):
        raise RuntimeError

    monkeypatch.setattr(readiness, "wait_for_room", fail)
    with pytest.RaisesGroup(RuntimeError):
        async with open_batch_sender(target) as sender:
            sender.send_nowait(b"1", stuck_address)
            await trio.sleep_forever()
    assert sender.unsent == [(b"1", stuck_address)]


@needs_own_room
async def test_many_peers_without_room_do_not_keep_others_from_running(
    unix, make_socket
):
    target, make_peer = unix
    peers = [await make_peer() for _ in range(100)]
    for _, address in peers:
        # From a buffer of its own: one would be full after a few.
        fill(await make_socket("unix"), address)
    turns = 0

    async def take_turns():
        nonlocal turns
        while True:
            await trio.lowlevel.checkpoint()
            turns += 1

    async with open_batch_sender(target) as sender:
        for _, address in peers:
            sender.send_nowait(b"x", address)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(take_turns)
            while sender._task.outbox.on_its_way or not turns:
                await trio.lowlevel.checkpoint()
            nursery.cancel_scope.cancel()
        assert turns >= 3
        for peer, _ in peers:
            assert await take(peer, 1) == [b"x"]


@pytest.mark.parametrize("seed", range(20))
async def test_with_slow_peers_nothing_is_lost_or_out_of_order(unix, seed):
    choose = random.Random(seed)
    target, make_peer = unix
    peers = [await make_peer() for _ in range(4)]
    sent, withdrawn = {}, set()
    received = [[] for _ in peers]

    async def send(sender, task):
        for turn in range(30):
            index = choose.randrange(4)
            data = b"%d.%d" % (task, turn)
            with trio.CancelScope() as scope:
                if choose.random() < 0.3:
                    scope.deadline = trio.current_time() + 0.0005
                await sender.send(data, peers[index][1])
            if scope.cancelled_caught:
                withdrawn.add(data)
            else:
                sent.setdefault(index, []).append(data)
            if choose.random() < 0.1:
                with trio.move_on_after(0.001):
                    await sender.flush()

    async def receive(index):
        peer = peers[index][0]
        while True:
            received[index] += [
                data for data, _ in await peer.receive_batch(3)
            ]
            for _ in range(choose.choice([0, 1, 30])):
                await trio.lowlevel.checkpoint()

    async with trio.open_nursery() as nursery:
        for index in range(4):
            nursery.start_soon(receive, index)
        async with (
            open_batch_sender(target) as sender,
            trio.open_nursery() as senders,
        ):
            for task in range(15):
                senders.start_soon(send, sender, task)
        with trio.fail_after(60):
            while sum(map(len, received)) < sum(map(len, sent.values())):
                await trio.lowlevel.checkpoint()
        nursery.cancel_scope.cancel()
    for index in range(4):
        assert sorted(received[index]) == sorted(sent.get(index, []))
        assert withdrawn.isdisjoint(received[index])
        for task in range(15):
            turns = [
                int(data.partition(b".")[2])
                for data in received[index]
                if data.startswith(b"%d." % task)
            ]
            assert turns == sorted(turns)
    assert sender.statistics().messages == sum(map(len, received))


@pytest.mark.parametrize("way", ["queue", "send", "flush"])
async def test_a_cork_holds_back_nobody_who_waits_for_a_full_peer(unix, way):
    target, make_peer = unix
    stuck, address = await make_peer()
    fill(target, address)
    async with open_batch_sender(target, max_buffered=0) as sender:

        async def wait():
            await sender.queue(b"0", address)
            if way == "flush":
                await sender.flush()
            else:
                await getattr(sender, way)(b"1", address)

        with sender.corked():
            async with trio.open_nursery() as nursery:
                nursery.start_soon(wait)
                await wait_all_tasks_blocked()
                # At the end of the cork it would be too late.
                assert (await take(stuck, 1))[0] == b"0"


async def test_a_cork_holds_back_nobody_behind_whom_others_wait(unix):
    target, make_peer = unix
    peer, address = await make_peer()
    async with open_batch_sender(target, max_buffered=0) as sender:
        with sender.corked():
            async with trio.open_nursery() as nursery:
                for number in range(4):
                    nursery.start_soon(sender.queue, b"%d" % number, address)
        # The last one, behind which nobody waits, is held back.
        assert sender.statistics().messages == 3
    assert sorted(await take(peer, 4)) == [b"0", b"1", b"2", b"3"]
