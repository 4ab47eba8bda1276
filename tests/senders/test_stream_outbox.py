"""The queue of a batch sender, without a stream or an event loop."""

from __future__ import annotations

import random
import sys
import time

import pytest

from triobatch import Buffers
from triobatch._senders.stream_outbox import StreamOutbox


class Clock:
    now = 100.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def outbox(clock):
    return StreamOutbox(10, clock)


def filled(outbox, *messages):
    for message in messages:
        assert outbox.put(message)
    return outbox


def test_messages_leave_in_the_order_they_came(outbox):
    batch = filled(outbox, b"one", b"two", b"three").take()
    assert bytes(batch.buffers) == b"onetwothree"
    assert batch.count == 3
    assert batch.nbytes == 11
    assert not outbox.has_next()


def test_a_stream_refuses_no_message(outbox):
    assert outbox.refused == 0


def test_the_peak_is_the_most_that_was_there(outbox):
    assert outbox.peak == 0
    filled(outbox, b"abc", b"d").take()
    assert outbox.peak == 4


def test_an_empty_message_is_none(outbox):
    filled(outbox, b"", Buffers(), b"")
    assert not outbox.has_next()
    assert outbox.nbytes == 0


def test_a_message_is_let_in_until_there_is_more_than_the_limit(outbox):
    filled(outbox, b"x" * 10, b"y")
    assert outbox.nbytes == 11
    assert not outbox.put(b"z")
    assert outbox.nbytes == 11


def test_a_message_above_the_limit_is_let_in_when_there_is_room(outbox):
    filled(outbox, b"x" * 1000)
    assert outbox.peak == 1000


def test_a_batch_holds_its_room_until_it_is_done(outbox):
    batch = filled(outbox, b"x" * 11).take()
    batch.buffers.consume(11)
    assert not outbox.put(b"y")
    assert outbox.sent(batch) == []
    assert outbox.put(b"y")


def test_those_who_wait_for_room_get_it_in_order(outbox):
    batch = filled(outbox, b"x" * 11).take()
    for token in "abc":
        outbox.put_later(token, token.encode() * 6)
    assert outbox.waiting == 3
    # The third would find 12 bytes there.
    assert outbox.sent(batch) == ["a", "b"]
    second = outbox.take()
    assert bytes(second.buffers) == b"aaaaaabbbbbb"
    assert outbox.sent(second) == ["c"]


def test_nobody_overtakes_those_who_wait(outbox):
    batch = filled(outbox, b"x" * 11).take()
    outbox.put_later("a", b"a" * 11)
    outbox.put_later("b", b"b")
    outbox.sent(batch)
    outbox.sent(outbox.take())
    outbox.put_later("c", b"c")
    assert not outbox.put(b"d")
    assert bytes(outbox.take().buffers) == b"b"


def test_a_message_that_is_withdrawn_is_never_queued(outbox):
    batch = filled(outbox, b"x" * 11).take()
    for token in "abc":
        outbox.put_later(token, token.encode())
    assert outbox.withdraw("b")
    assert not outbox.withdraw("b")
    assert outbox.sent(batch) == ["a", "c"]
    assert bytes(outbox.take().buffers) == b"ac"
    assert not outbox.withdraw("a")


def test_a_flush_ends_with_what_was_buffered_at_the_call(outbox):
    on_its_way = filled(outbox, b"1").take()
    filled(outbox, b"2")
    outbox.start_flush("a")
    filled(outbox, b"3")
    outbox.start_flush("b")
    assert outbox.sent(on_its_way) == []
    second = outbox.take(1)
    assert second.count == 1
    assert outbox.sent(second) == ["a"]
    assert outbox.sent(outbox.take()) == ["b"]


def test_a_flush_of_nothing_need_not_wait(outbox):
    assert not outbox.start_flush("a")
    batch = filled(outbox, b"1").take()
    assert outbox.start_flush("a")
    assert outbox.sent(batch) == ["a"]
    assert not outbox.withdraw_flush("a")


def test_a_flush_that_is_withdrawn_is_not_reported(outbox):
    filled(outbox, b"1").start_flush("a")
    assert outbox.withdraw_flush("a")
    assert outbox.sent(outbox.take()) == []


def test_a_closed_outbox_refuses_those_who_wait_for_room_once(outbox):
    filled(outbox, b"x" * 11)
    outbox.put_later("a", b"a")
    outbox.start_flush("b")
    assert outbox.close() == ["a"]
    assert outbox.closed
    assert outbox.close() == []
    assert not outbox.put(b"y")
    # It waited in vain, and is told so once.
    assert outbox.withdraw("a")
    assert not outbox.withdraw("a")
    # What is queued is sent all the same, and the flush ends with it.
    assert outbox.sent(outbox.take()) == ["b"]


def test_an_abandoned_outbox_refuses_all(outbox):
    filled(outbox, b"x" * 11)
    outbox.put_later("a", b"a")
    outbox.start_flush("b")
    assert outbox.abandon() == ["a", "b"]
    assert outbox.withdraw("a")
    assert outbox.withdraw_flush("b")


def test_a_limited_batch_has_the_messages_that_fit_whole(outbox):
    filled(outbox, b"abc", b"def", b"gh")
    assert bytes(outbox.take(5).buffers) == b"abc"
    assert bytes(outbox.take(5).buffers) == b"defgh"


def test_a_limited_batch_of_gathered_messages_too(outbox):
    filled(outbox, Buffers([b"a", b"bc"]), b"def", Buffers([b"g", b"h"]))
    first, second = outbox.take(5), outbox.take(5)
    assert bytes(first.buffers) == b"abc"
    assert bytes(second.buffers) == b"defgh"
    assert second.count == 2


@pytest.mark.parametrize("gathered", [False, True])
def test_limited_batches_have_everything_once_and_in_order(clock, gathered):
    outbox = StreamOutbox(2**30, clock)
    choose = random.Random(1)
    expected, batches = b"", []
    for number in range(2000):
        message = b"%d;" % number
        expected += message
        filled(outbox, Buffers([message]) if gathered else message)
        # Mostly the front of a queue that grows.
        if choose.random() < 0.3:
            batches.append(outbox.take(choose.randrange(20)))
    rest = outbox.take()
    assert rest.count > 500
    assert not outbox.has_next()
    batches.append(rest)
    assert b"".join(batch.buffers.read() for batch in batches) == expected
    for batch in batches:
        outbox.sent(batch)
    assert (outbox.nbytes, outbox.messages) == (0, 2000)


@pytest.mark.skipif(
    not hasattr(sys, "getrefcount"), reason="references are not counted"
)
def test_a_message_that_was_taken_is_not_kept(clock):
    outbox = StreamOutbox(2**30, clock)
    message = b"large" * 1000
    before = sys.getrefcount(message)
    filled(outbox, message, *[b"x"] * 1000)
    batch = outbox.take(1)
    assert batch.count == 1
    del batch
    assert sys.getrefcount(message) == before


@pytest.mark.slow
def test_the_front_costs_the_same_however_much_is_behind_it(clock):
    def time_taking(count):
        outbox = StreamOutbox(2**40, clock)
        for _ in range(count):
            outbox.put(b"x" * 64)
        start = time.process_time()
        while outbox.has_next():
            outbox.take(2**16)
        return (time.process_time() - start) / count

    few = min(time_taking(20_000) for _ in range(5))
    many = min(time_taking(1_000_000) for _ in range(2))
    assert many < 5 * few


def test_a_limited_batch_has_one_message_at_least(outbox):
    filled(outbox, b"xxxx", b"y", Buffers([b"ab", b"cd"]))
    assert bytes(outbox.take(1).buffers) == b"xxxx"
    assert bytes(outbox.take(1).buffers) == b"y"
    assert bytes(outbox.take(1).buffers) == b"abcd"


def test_the_peak_is_the_most_that_was_ever_buffered(outbox):
    on_its_way = filled(outbox, b"x" * 5).take()
    filled(outbox, b"y" * 4)
    assert outbox.peak == 9
    outbox.sent(on_its_way)
    outbox.sent(outbox.take())
    assert outbox.nbytes == 0
    assert outbox.peak == 9


def test_the_longest_wait_is_that_of_the_oldest_message(outbox, clock):
    filled(outbox, b"1")
    clock.now += 2
    on_its_way = filled(outbox, b"2").take()
    filled(outbox, b"3")
    clock.now += 3
    filled(outbox, b"4")
    outbox.sent(on_its_way)
    assert outbox.longest_wait == 5
    clock.now += 1
    outbox.sent(outbox.take())
    assert outbox.longest_wait == 5
    assert outbox.messages == 4
    assert outbox.batches == 2


@pytest.mark.parametrize("size", [1, 2, 63])
def test_there_are_not_many_more_small_messages_than_large_ones(clock, size):
    outbox = StreamOutbox(2**18, clock)
    count = 0
    while outbox.put(b"x" * size):
        count += 1
    assert count == 2**18 // 64
    on_its_way = outbox.take(1000)
    assert not outbox.put(b"x")
    outbox.sent(on_its_way)
    for _ in range(on_its_way.count):
        assert outbox.put(b"x")
    assert not outbox.put(b"x")


def test_however_low_the_limit_bytes_are_what_it_says(outbox):
    filled(outbox, *[b"x"] * 11)
    assert not outbox.put(b"y")
    large = StreamOutbox(1024, Clock())
    filled(large, *[b"x"] * 1023)
    filled(large, b"y")
    assert not large.put(b"z")


def test_gathered_messages_weigh_more(clock):
    outbox = StreamOutbox(2**18, clock)
    count = 0
    while outbox.put(Buffers([b"x", b"y"])):
        count += 1
    # Each as 9 messages, and 4 for each chunk.
    assert count == -(-(2**18 // 64) // 17)
    outbox.sent(outbox.take())
    assert outbox.put(Buffers([b"x"] * 10_000))
    assert not outbox.put(b"y")
    outbox.sent(outbox.take())
    assert outbox.put(b"y")


def test_an_empty_message_weighs_nothing(clock):
    outbox = StreamOutbox(2**18, clock)
    for _ in range(5000):
        assert outbox.put(Buffers())
    assert outbox.put(b"x")


def test_a_batch_cut_short_counts_what_was_sent_of_it(outbox, clock):
    batch = filled(outbox, b"x", b"y", b"z").take()
    clock.now += 1
    outbox.cut_short(batch, 2)
    assert outbox.abandon() == []
    assert (outbox.messages, outbox.batches) == (2, 1)
    assert (outbox.nbytes, outbox.peak, outbox.longest_wait) == (0, 3, 1)


@pytest.mark.parametrize("seed", range(20))
def test_under_any_schedule_the_order_and_the_room_hold(seed, clock):
    choose = random.Random(seed)
    limit = choose.randrange(40)
    outbox = StreamOutbox(limit, clock)
    expected, waiting, left, batch = [], {}, [], None
    for token in range(500):
        step = choose.random()
        if step < 0.6:
            message = b"%d;" % token * choose.randrange(1, 6)
            if outbox.put(message):
                assert not waiting
                expected.append(message)
            else:
                outbox.put_later(token, message)
                waiting[token] = message
        elif step < 0.7 and waiting:
            withdrawn = choose.choice(list(waiting))
            assert outbox.withdraw(withdrawn)
            del waiting[withdrawn]
        elif batch is not None:
            left.append(batch.buffers.read())
            for freed in outbox.sent(batch):
                assert freed == next(iter(waiting))
                expected.append(waiting.pop(freed))
            batch = None
        elif outbox.has_next():
            batch = outbox.take(choose.choice([None, 5, 50]))
        longest = max(map(len, [b"", *expected]))
        assert outbox.nbytes <= limit + longest
    if batch is not None:
        left.append(batch.buffers.read())
    while outbox.has_next():
        left.append(outbox.take().buffers.read())
    assert b"".join(left) == b"".join(expected)


def test_without_a_message_no_clock_is_asked():
    def clock():
        raise AssertionError

    outbox = StreamOutbox(100, clock)
    assert outbox.longest_wait == 0
    outbox.abandon()
    assert outbox.longest_wait == 0
