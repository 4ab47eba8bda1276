"""The queue of a datagram sender, without a socket or an event loop."""

from __future__ import annotations

import errno
import random

import pytest

from triobatch._senders.datagram_outbox import (
    MAX_BATCH,
    DatagramOutbox,
    QueuedDatagram,
    Waiter,
)


class Clock:
    now = 100.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def outbox(clock):
    return DatagramOutbox(clock, str.encode)


def queue(outbox, *names, waiter=None):
    """Queue a datagram for each "payload@address"."""
    datagrams = [
        QueuedDatagram(name.encode(), name.partition("@")[2]) for name in names
    ]
    outbox.put(datagrams, waiter)
    return datagrams


def names(datagrams):
    return [datagram.payload.decode() for datagram in datagrams]


def test_datagrams_leave_in_the_order_they_came(outbox):
    queue(outbox, "1@a", "2@b")
    queue(outbox, "3@a")
    assert names(outbox.take()) == ["1@a", "2@b", "3@a"]
    assert not outbox.has_next()
    assert (outbox.count, outbox.on_its_way, outbox.nbytes) == (3, 3, 9)


def test_who_waits_is_freed_with_the_last_outcome(outbox):
    waiter = Waiter("task")
    sent = queue(outbox, "1@a", "2@a", "3@a", waiter=waiter)
    outbox.take()
    outbox.sent([0])
    outbox.refuse(1, errno.EMSGSIZE)
    assert outbox.freed == []
    outbox.sent([2])
    assert outbox.freed == ["task"]
    (error,) = waiter.errors
    assert (waiter.sent, waiter.left) == (2, 0)
    assert error.errno == errno.EMSGSIZE
    assert (error.index, error.address) == (1, "a")
    assert [datagram.done for datagram in sent] == [True, False, True]
    assert (outbox.messages, outbox.refused, outbox.batches) == (2, 1, 1)
    assert (outbox.count, outbox.waiting, outbox.nbytes) == (0, 0, 0)


def test_an_error_has_the_place_that_its_sender_knows(outbox):
    queue(outbox, "0@a")
    waiter = Waiter("task")
    queue(outbox, "1@a", "2@a", waiter=waiter)
    outbox.take()
    outbox.refuse(2, errno.EMSGSIZE)
    assert [error.index for error in waiter.errors] == [1]


def test_what_a_destination_without_room_holds_up_is_its_own(outbox):
    queue(outbox, "1@a", "2@b", "3@a")
    outbox.take()
    assert outbox.open_lane(b"a")
    assert not outbox.open_lane(b"a")
    outbox.hold(0, b"a")
    outbox.hold(2, b"a")
    outbox.sent([1])
    assert outbox.on_its_way == 0
    queue(outbox, "4@a", "5@b")
    assert names(outbox.take()) == ["5@b"]
    outbox.sent([4])
    assert not outbox.has_next()
    outbox.close_lane(b"a")
    queue(outbox, "6@a")
    assert names(outbox.take()) == ["1@a", "3@a", "4@a", "6@a"]


def test_a_batch_may_turn_out_to_be_empty(outbox):
    queue(outbox, "1@a")
    outbox.take()
    outbox.open_lane(b"a")
    outbox.hold(0, b"a")
    queue(outbox, "2@a")
    assert outbox.has_next()
    assert outbox.take() == []
    assert not outbox.has_next()
    assert outbox.count == 2


def test_a_datagram_is_withdrawn_from_wherever_it_is(outbox):
    lane, batch = queue(outbox, "1@a", "2@b")
    outbox.take()
    outbox.open_lane(b"a")
    outbox.hold(0, b"a")
    (queued,) = queue(outbox, "3@b")
    assert outbox.withdraw([lane, queued]) == []
    assert outbox.withdraw([batch]) == [1]
    assert (outbox.count, outbox.on_its_way, outbox.nbytes) == (0, 0, 0)
    outbox.close_lane(b"a")
    assert outbox.take() == []
    assert outbox.messages == 0


def test_a_flush_ends_when_all_before_it_have_an_outcome(outbox):
    assert not outbox.start_flush("none")
    queue(outbox, "1@a", "2@b")
    assert outbox.start_flush("first")
    assert outbox.start_flush("again")
    (third,) = queue(outbox, "3@a")
    assert outbox.start_flush("second")
    queue(outbox, "4@a")
    outbox.take()
    outbox.sent([0, 3])
    assert outbox.freed == []
    assert outbox.withdraw_flush("again")
    assert not outbox.withdraw_flush("again")
    outbox.sent([1])
    assert outbox.freed == ["first"]
    assert outbox.withdraw([third]) == [2]
    assert outbox.freed == ["first", "second"]
    assert not outbox.withdraw_flush("second")


def test_of_a_long_queue_the_front_is_a_batch(outbox, clock):
    queue(outbox, *["x@a"] * (MAX_BATCH + 2))
    clock.now += 1
    batch = outbox.take()
    assert [d.tag for d in batch] == list(range(MAX_BATCH))
    outbox.start_flush("flush")
    outbox.sent(list(range(MAX_BATCH)))
    assert outbox.has_next()
    queue(outbox, "y@a")
    clock.now += 1
    rest = [MAX_BATCH, MAX_BATCH + 1, MAX_BATCH + 2]
    assert [d.tag for d in outbox.take()] == rest
    outbox.sent(rest[:1])
    assert outbox.freed == []
    outbox.sent(rest[1:2])
    assert outbox.freed == ["flush"]
    assert (outbox.batches, outbox.longest_wait) == (2, 2)


def test_what_is_abandoned_is_told_in_order(outbox):
    queue(outbox, "1@a", "2@b", "3@a")
    outbox.take()
    outbox.open_lane(b"a")
    outbox.hold(0, b"a")
    queue(outbox, "4@b", waiter=Waiter("task"))
    outbox.start_flush("flush")
    assert names(outbox.abandon()) == ["1@a", "2@b", "3@a", "4@b"]
    assert outbox.freed == ["flush", "task"]
    assert outbox.closed
    assert (outbox.nbytes, outbox.count, outbox.waiting) == (0, 0, 0)
    assert (outbox.peak, outbox.on_its_way) == (12, 0)


def test_the_longest_wait_is_that_of_the_oldest_held_up(outbox, clock):
    queue(outbox, "1@a", "2@b")
    clock.now += 1
    outbox.take()
    outbox.open_lane(b"a")
    outbox.hold(0, b"a")
    outbox.sent([1])
    assert outbox.longest_wait == 1
    clock.now += 1
    queue(outbox, "3@b")
    outbox.close_lane(b"a")
    outbox.take()
    clock.now += 1
    outbox.sent([0, 2])
    assert outbox.longest_wait == 3


@pytest.mark.parametrize("seed", range(30))
def test_under_any_schedule_each_has_one_outcome_and_the_order_holds(
    seed, clock
):
    choose = random.Random(seed)
    outbox = DatagramOutbox(clock, str.encode)
    sent, withdrawn, left, lanes = [], [], [], set()
    flushes = {}
    for step in range(400):
        name = f"{step}@{choose.choice('abc')}"
        kind = choose.choice(["put", "put", "send", "withdraw", "flush", "go"])
        if kind == "put":
            left += queue(outbox, name)
        elif kind == "withdraw" and left:
            datagram = choose.choice(left)
            left.remove(datagram)
            outbox.withdraw([datagram])
            withdrawn.append(datagram)
        elif kind == "flush" and outbox.start_flush(step):
            flushes[step] = list(left)
        elif kind == "go" and lanes:
            lane = choose.choice(sorted(lanes))
            lanes.remove(lane)
            outbox.close_lane(lane)
        elif kind == "send" and outbox.has_next():
            batch = outbox.take()
            for datagram in batch:
                peer = datagram.address.encode()
                if peer in lanes or choose.random() < 0.1:
                    if outbox.open_lane(peer):
                        lanes.add(peer)
                    outbox.hold(datagram.tag, peer)
                else:
                    outbox.sent([datagram.tag])
                    sent.append(datagram)
                    left.remove(datagram)
        for token in outbox.freed:
            assert not set(flushes.pop(token)) & set(left)
        outbox.freed.clear()
        assert all(set(ahead) & set(left) for ahead in flushes.values())
        assert outbox.count == len(left)
    left_over = outbox.abandon()
    assert left_over == left
    assert set(sent).isdisjoint(withdrawn)
    assert outbox.messages == len(sent)
    for address in "abc":
        numbers = [d.tag for d in sent if d.address == address]
        assert numbers == sorted(numbers)
        unsent = [d.tag for d in left_over if d.address == address]
        assert not numbers or not unsent or max(numbers) < min(unsent)
