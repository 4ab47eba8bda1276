"""What one task brings piece by piece leaves together, and a cork holds it."""

from __future__ import annotations

import ssl

import pytest
import trio
from helpers import discard, receive_all, receive_exactly, received
from trio.testing import wait_all_tasks_blocked

from triobatch import Buffers, open_batch_sender
from triobatch._senders.gathering import YIELD_AFTER, Gathering

PIECES = [b"x" * 64] * 64


@pytest.mark.parametrize("kind", [bytes, bytearray, lambda d: Buffers([d])])
async def test_a_reply_in_pieces_leaves_in_a_few_calls(pair, kind, clock):
    left, right = pair
    async with open_batch_sender(left) as sender:
        await wait_all_tasks_blocked()
        for piece in PIECES:
            await sender.send(kind(piece))
        await sender.flush()
        assert sender.statistics().send_calls <= 4
    assert await receive_exactly(right, 4096) == b"".join(PIECES)


async def test_a_reply_in_pieces_leaves_in_a_few_tls_records(clock):
    ours, theirs = trio.testing.memory_stream_pair()
    trustme = pytest.importorskip("trustme")
    ca = trustme.CA()
    server = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    ca.issue_cert("localhost").configure_cert(server)
    client = ssl.create_default_context()
    ca.configure_trust(client)
    left = trio.SSLStream(ours, server, server_side=True)
    right = trio.SSLStream(theirs, client, server_hostname="localhost")
    async with trio.open_nursery() as nursery:
        nursery.start_soon(right.do_handshake)
        await left.do_handshake()
    async with open_batch_sender(left) as sender:
        for piece in PIECES:
            await sender.send(piece)
        await sender.flush()
        assert sender.statistics().batches <= 4
    assert await receive_exactly(right, 4096) == b"".join(PIECES)


async def test_a_task_that_computes_between_its_pieces_lets_others_run(
    pair, clock
):
    left, _right = pair
    turns = 0

    async def take_turns():
        nonlocal turns
        while True:
            await trio.lowlevel.checkpoint()
            turns += 1

    async with (
        open_batch_sender(left) as sender,
        trio.open_nursery() as nursery,
    ):
        nursery.start_soon(take_turns)
        await trio.lowlevel.checkpoint()
        for _ in range(20):
            await sender.send(b"x")
            clock[0] += 2 * YIELD_AFTER
        # It yields in each of them; the first of its turns may come late.
        assert turns >= 18
        nursery.cancel_scope.cancel()


async def test_sending_while_the_sender_is_busy_can_be_cancelled(pair):
    left, _right = pair
    async with open_batch_sender(left) as sender:
        await sender.send(b"first")
        await sender.send(b"second")
        with trio.CancelScope() as scope:
            scope.cancel()
            await sender.send(b"third")
        assert scope.cancelled_caught
        await sender.flush()
        assert left.statistics().bytes_sent == 11


async def test_nothing_leaves_before_the_end_of_a_cork(pair):
    left, right = pair
    async with open_batch_sender(left) as sender:
        with sender.corked():
            for piece in PIECES:
                await sender.send(piece)
                await wait_all_tasks_blocked()
            sender.send_nowait(bytearray(b"y"))
            await sender.send(Buffers([b"z"]))
            await wait_all_tasks_blocked()
            assert left.statistics().send_calls == 0
        await wait_all_tasks_blocked()
        assert left.statistics().send_calls == 1
    assert await receive_exactly(right, 4098) == b"".join(PIECES) + b"yz"


async def test_what_was_queued_before_a_cork_leaves(pair):
    left, _right = pair
    async with open_batch_sender(left) as sender:
        await wait_all_tasks_blocked()
        sender.send_nowait(b"before")
        with sender.corked():
            await wait_all_tasks_blocked()
            assert left.statistics().bytes_sent == 6
            await sender.send(b"within")
            await wait_all_tasks_blocked()
            assert left.statistics().bytes_sent == 6


@pytest.mark.parametrize("below", [1, 0])
async def test_a_cork_holds_back_less_than_its_size(pair, below):
    left, right = pair
    size = 2**16 - below
    async with (
        open_batch_sender(left) as sender,
        trio.open_nursery() as nursery,
    ):
        nursery.start_soon(discard, right)
        with sender.corked():
            await sender.send(b"x" * (size - 1))
            await sender.send(b"x")
            await wait_all_tasks_blocked()
            assert left.statistics().bytes_sent == (0 if below else size)
            await sender.send(b"yy")
            await wait_all_tasks_blocked()
            # All of what was there; and then it holds again.
            assert left.statistics().bytes_sent == size + 2 * below
        await sender.flush()
        assert left.statistics().bytes_sent == size + 2
        nursery.cancel_scope.cancel()


async def test_the_end_of_the_last_cork_counts(pair):
    left, _right = pair
    async with open_batch_sender(left) as sender:
        with sender.corked():
            with sender.corked():
                await sender.send(b"x")
            await wait_all_tasks_blocked()
            assert left.statistics().bytes_sent == 0
        await wait_all_tasks_blocked()
        assert left.statistics().bytes_sent == 1


async def test_a_cork_ends_with_its_block_however_that_is_left(pair):
    left, _right = pair
    async with open_batch_sender(left) as sender:
        with pytest.raises(KeyError), sender.corked():
            await sender.send(b"x")
            raise KeyError
        await wait_all_tasks_blocked()
        assert left.statistics().bytes_sent == 1
        with trio.CancelScope() as scope, sender.corked():
            await sender.send(b"x")
            scope.cancel()
            await sender.send(b"not this")
        await wait_all_tasks_blocked()
        assert left.statistics().bytes_sent == 2


async def test_leaving_the_senders_block_within_a_cork_sends_all(pair):
    left, right = pair
    async with open_batch_sender(left) as sender:
        cork = sender.corked()
        cork.__enter__()
        await sender.send(b"held")
    assert await receive_exactly(right, 4) == b"held"
    cork.__exit__(None, None, None)
    with sender.corked(), pytest.raises(trio.ClosedResourceError):
        await sender.send(b"late")


async def test_leaving_it_by_an_exception_within_a_cork_tells_what_is_unsent(
    pair,
):
    left, _right = pair
    with pytest.raises(KeyError):
        async with open_batch_sender(left) as sender:
            with sender.corked():
                await sender.send(b"held")
                await wait_all_tasks_blocked()
                raise KeyError
    assert sender.unsent == [b"held"]


async def test_a_flush_within_a_cork_sends_what_is_there(pair):
    left, _right = pair
    async with open_batch_sender(left) as sender:
        with sender.corked():
            await sender.send(b"first")
            await sender.flush()
            assert left.statistics().bytes_sent == 5
            await sender.send(b"second")
            await wait_all_tasks_blocked()
            assert left.statistics().bytes_sent == 5


async def test_a_cork_does_not_keep_the_room_that_tasks_wait_for(pair):
    left, right = pair
    async with open_batch_sender(left, max_buffered=10) as sender:
        with sender.corked():
            for number in range(9):
                await sender.send(b"%010d;" % number)
            with pytest.raises(trio.WouldBlock):
                while True:
                    sender.send_nowait(b"y")
        await sender.flush()
    messages = b"".join(b"%010d;" % number for number in range(9))
    assert await receive_exactly(right, 99) == messages


async def test_many_tasks_wait_for_room_within_a_cork(pair):
    left, right = pair
    async with open_batch_sender(left, max_buffered=0) as sender:
        with sender.corked():
            async with trio.open_nursery() as nursery:
                for _ in range(10):
                    nursery.start_soon(sender.send, b"x")
    assert await receive_exactly(right, 10) == b"x" * 10


# Datagrams


async def test_datagrams_leave_at_the_end_of_a_cork(udp_pair):
    left, right, to = udp_pair
    async with open_batch_sender(left) as sender:
        with sender.corked():
            for number in range(50):
                await sender.send(b"%d" % number, to)
            await sender.send(bytearray(b"view"), to)
            await sender.send(Buffers([b"ga", b"thered"]), to)
            sender.send_nowait(b"now", to)
            await wait_all_tasks_blocked()
            assert await received(right) == []
        await sender.flush()
        assert sender.statistics().batches == 1
        assert sender.statistics().messages == 53
    assert await receive_all(right, 53) == [
        *(b"%d" % number for number in range(50)),
        b"view",
        b"gathered",
        b"now",
    ]


async def test_a_refused_datagram_of_a_cork_is_counted(udp_pair):
    left, right, to = udp_pair
    async with open_batch_sender(left) as sender:
        with sender.corked():
            await sender.send(bytes(70_000), to)
            await sender.send(b"goes", to)
        await sender.flush()
        done = sender.statistics()
    assert (done.refused, done.messages) == (1, 1)
    assert await receive_all(right, 1) == [b"goes"]


async def test_a_batch_of_datagrams_is_not_held_back_by_a_cork(udp_pair):
    left, right, to = udp_pair
    async with open_batch_sender(left) as sender:
        with sender.corked():
            await sender.send(b"first", to)
            assert await sender.send_batch([(b"second", to)]) == 1
            await sender.send(b"third", to)
            await wait_all_tasks_blocked()
            assert await receive_all(right, 2) == [b"first", b"second"]
        await sender.flush()
    assert await receive_all(right, 1) == [b"third"]


async def test_datagrams_that_find_no_room_are_not_held_back(udp_pair):
    left, right, to = udp_pair
    async with open_batch_sender(left, max_buffered=500) as sender:
        with sender.corked():
            for _ in range(20):
                await sender.send(b"x" * 100, to)
    assert await receive_all(right, 20) == [b"x" * 100] * 20


async def test_many_tasks_wait_for_room_for_datagrams_within_a_cork(udp_pair):
    left, right, to = udp_pair
    async with open_batch_sender(left, max_buffered=100) as sender:
        with trio.fail_after(60), sender.corked():
            async with trio.open_nursery() as nursery:
                for _ in range(20):
                    nursery.start_soon(sender.queue, b"x" * 60, to)
    assert await receive_all(right, 20) == [b"x" * 60] * 20


async def test_a_cork_does_not_keep_the_room_that_is_asked_for_again(
    pair, udp_pair
):
    left, _right = pair
    datagrams, _, to = udp_pair
    for target, address in ((left, ()), (datagrams, (to,))):
        async with open_batch_sender(target, max_buffered=100) as sender:
            with sender.corked():
                with pytest.raises(trio.WouldBlock):
                    while True:
                        sender.send_nowait(b"x" * 60, *address)
                await wait_all_tasks_blocked()
                sender.send_nowait(b"x", *address)


async def test_pushing_what_is_on_its_way_lets_nothing_else_leave(pair):
    left, _right = pair
    async with open_batch_sender(left) as sender:
        await wait_all_tasks_blocked()
        with sender.corked():
            # As a flush does that waits for nothing but a batch on its way.
            sender._task.push()
            await sender.send(b"x")
            await wait_all_tasks_blocked()
            assert left.statistics().bytes_sent == 0


def test_it_yields_again_when_its_time_has_come(clock):
    gathering = Gathering(None)
    clock[0] = 5.0
    assert gathering.yields()
    assert not gathering.yields()
    clock[0] += YIELD_AFTER
    assert gathering.yields()
