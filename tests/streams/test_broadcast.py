"""One payload to many streams, of which some are slow and some are gone."""

from __future__ import annotations

import array

import pytest
import trio
from helpers import (
    cancelled_when_blocked,
    loopback_is_through,
    receive_exactly,
)
from trio import socket as tsocket
from trio.testing import (
    assert_checkpoints,
    memory_stream_pair,
    wait_all_tasks_blocked,
)

import triobatch
from triobatch import BroadcastResult, Buffers, broadcast, broadcast_nowait


@pytest.fixture
async def pairs(make_streams):
    """Five connected pairs of streams."""
    return [await make_streams() for _ in range(5)]


def statuses(result):
    return [delivery.status for delivery in result]


@pytest.mark.parametrize(
    "data",
    [
        b"message",
        bytearray(b"message"),
        memoryview(b"message"),
        array.array("B", b"message"),
        Buffers([b"mes", b"", bytearray(b"sage")]),
    ],
    ids=lambda data: type(data).__name__,
)
async def test_every_stream_gets_the_same(pairs, data):
    lefts = [left for left, _ in pairs]
    with assert_checkpoints():
        result = await broadcast(iter(lefts), data)
    assert [delivery.stream for delivery in result] == lefts
    assert result.missed == []
    for delivery in result:
        assert (delivery.status, delivery.sent) == ("sent", 7)
        assert delivery.error is None
    assert broadcast_nowait(lefts, data).missed == []
    for left, right in pairs:
        assert await receive_exactly(right, 14) == b"messagemessage"
        done = left.statistics()
        assert (done.bytes_sent, done.send_calls) == (14, 2)
    # It was not consumed.
    assert bytes(data) == b"message"


async def test_nobody_is_a_checkpoint_too():
    with assert_checkpoints():
        assert len(await broadcast([], b"message")) == 0
    assert len(broadcast_nowait([], b"message")) == 0


async def test_nothing_to_send_is_sent(pairs):
    lefts = [left for left, _ in pairs]
    await lefts[1].aclose()
    with assert_checkpoints():
        result = await broadcast(lefts, b"")
    assert statuses(result) == ["sent", "closed", "sent", "sent", "sent"]
    assert len(result.missed) == 1
    assert len(result.sent) == len(result) - 1
    assert {delivery.status for delivery in result.sent} == {"sent"}


async def test_a_slow_peer_holds_up_nobody_else(pairs, clog):
    slow, slow_peer = pairs[1]
    await clog(slow)
    async with trio.open_nursery() as nursery:
        result = BroadcastResult()

        async def send():
            await broadcast(
                [left for left, _ in pairs], b"message", result=result
            )

        nursery.start_soon(send)
        await wait_all_tasks_blocked()
        assert statuses(result) == ["sent", "unsent", "sent", "sent", "sent"]
        for left, right in pairs:
            if left is not slow:
                assert await receive_exactly(right, 7) == b"message"
        received = b""
        while not received.endswith(b"message"):
            received = (received + await slow_peer.receive_some())[-7:]
    assert result.missed == []


async def test_the_rest_of_a_large_message_goes_on(make_streams):
    pairs = [await make_streams(send_size=1) for _ in range(3)]
    message = bytes(range(256)) * 4_000
    received = {}

    async def receive(number, stream):
        received[number] = await receive_exactly(stream, len(message))

    async with trio.open_nursery() as nursery:
        for number, (_, right) in enumerate(pairs):
            nursery.start_soon(receive, number, right)
        result = await broadcast([left for left, _ in pairs], message)
    assert result.missed == []
    assert received == dict.fromkeys(range(3), message)
    for left, _ in pairs:
        assert left.statistics().bytes_sent == len(message)


async def test_after_a_deadline_the_result_tells_what_was_sent(
    make_streams, clog
):
    pairs = [await make_streams(send_size=1) for _ in range(3)]
    message = bytes(range(256)) * 4_000
    received = bytearray()

    all_there = trio.Event()

    async def receive(stream, into):
        async for data in stream:
            into += data
            if len(into) == len(message):
                all_there.set()

    result = BroadcastResult()
    lefts = [left for left, _ in pairs]
    await lefts[2].aclose()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(receive, pairs[0][1], received)
        with trio.CancelScope() as scope:

            async def cancel():
                await all_there.wait()
                await wait_all_tasks_blocked()
                scope.cancel()

            nursery.start_soon(cancel)
            await broadcast(lefts, message, result=result)
        assert scope.cancelled_caught
        assert statuses(result) == ["sent", "partial", "closed"]
        (partial, closed) = result.missed
        assert partial.stream is lefts[1]
        assert closed.stream is lefts[2]
        assert 0 < partial.sent < len(message)
        # It can be had to the end, with nothing lost or repeated.
        rest = bytearray()
        nursery.start_soon(receive, pairs[1][1], rest)
        await lefts[1].send_all(message[partial.sent :])
        await lefts[1].aclose()
        await lefts[0].aclose()
    assert rest == message


async def test_cancelled_at_once_it_has_sent_nothing(pairs):
    lefts = [left for left, _ in pairs]
    result = BroadcastResult()
    with trio.CancelScope() as scope:
        scope.cancel()
        await broadcast(lefts, b"message", result=result)
    assert scope.cancelled_caught
    assert statuses(result) == ["unsent"] * 5
    assert lefts[0].statistics().send_calls == 0


async def test_closed_and_ended_streams_are_told(pairs):
    lefts = [left for left, _ in pairs]
    await lefts[1].aclose()
    await lefts[2].send_eof()
    result = await broadcast(lefts, b"message")
    assert statuses(result) == ["sent", "closed", "closed", "sent", "sent"]
    for delivery in result.missed:
        assert isinstance(delivery.error, trio.ClosedResourceError)
    assert statuses(broadcast_nowait(lefts, b"!")) == statuses(result)


async def test_a_broken_stream_is_told_with_the_cause(pairs, reset):
    lefts = [left for left, _ in pairs]
    await reset(pairs[3][1])
    result = await broadcast(lefts, b"message")
    assert statuses(result) == ["sent", "sent", "sent", "broken", "sent"]
    (broken,) = result.missed
    assert broken.sent == 0
    assert isinstance(broken.error, trio.BrokenResourceError)
    assert isinstance(broken.error.__cause__, OSError)


async def test_a_stream_that_breaks_later_is_told(pairs, clog, reset):
    left, right = pairs[0]
    await clog(left)
    result = None

    async def send():
        nonlocal result
        result = await broadcast([left for left, _ in pairs], b"message")

    async with trio.open_nursery() as nursery:
        nursery.start_soon(send)
        await wait_all_tasks_blocked()
        await reset(right)
    assert statuses(result) == ["broken", "sent", "sent", "sent", "sent"]


async def test_a_stream_that_is_busy_is_left_alone(pairs, clog):
    busy, peer = pairs[2]
    await clog(busy)
    lefts = [left for left, _ in pairs]
    async with trio.open_nursery() as nursery:
        nursery.start_soon(busy.send_all, b"of another task")
        await wait_all_tasks_blocked()
        for result in (
            await broadcast(lefts, b"message"),
            broadcast_nowait(lefts, b"message"),
        ):
            assert statuses(result) == ["sent", "sent", "busy", "sent", "sent"]
            (missed,) = result.missed
            assert isinstance(missed.error, trio.BusyResourceError)
        received = b""
        while not received.endswith(b"xof another task"):
            received = (received + await peer.receive_some())[-100:]


async def test_nobody_sends_in_the_middle_of_the_message(make_streams):
    left, right = await make_streams(send_size=1)
    message = b"y" * 1_000_000
    async with trio.open_nursery() as nursery:
        # Blocked or not yet begun, the stream is the broadcast's.
        nursery.start_soon(broadcast, [left], message)
        while left.statistics().bytes_sent == 0:
            await trio.lowlevel.checkpoint()
        with pytest.raises(trio.BusyResourceError):
            await left.send_all(b"!")
        assert await receive_exactly(right, len(message)) == message
    await left.send_all(b"!")
    assert await receive_exactly(right, 1) == b"!"


async def test_broadcast_nowait_says_who_is_slow(make_streams, clog):
    pairs = [await make_streams(send_size=1) for _ in range(2)]
    message = b"y" * 1_000_000
    full, _ = await make_streams()
    await clog(full)
    lefts = [left for left, _ in pairs]
    result = broadcast_nowait([full, *lefts], message[:1000])
    assert statuses(result)[0] == "unsent"
    result = broadcast_nowait(lefts, message)
    assert statuses(result) == ["partial", "partial"]
    assert [d.sent for d in result] == [
        left.statistics().bytes_sent - 1000 for left in lefts
    ]
    assert lefts[0].statistics().partial_writes == 1
    # The streams are nobody's now.
    with pytest.raises(trio.WouldBlock):
        while True:
            lefts[0].send_buffers_nowait(Buffers([message]))


async def test_streams_of_other_kinds_are_sent_to_as_well(pair):
    left, right = pair
    one, one_peer = memory_stream_pair()
    two, _ = memory_stream_pair()
    await two.aclose()
    three, three_peer = memory_stream_pair()
    three_peer.receive_stream.close()
    with assert_checkpoints():
        result = await broadcast([one, left, two, three], b"message")
    assert statuses(result) == ["sent", "sent", "closed", "broken"]
    assert await one_peer.receive_some() == b"message"
    assert await right.receive_some() == b"message"
    assert two not in [d.stream for d in result if d.status == "sent"]


async def test_a_stream_that_cannot_tell_is_unknown_after_a_deadline():
    left, _ = memory_stream_pair()
    never = trio.Event()
    left.send_stream.send_all_hook = never.wait
    result = BroadcastResult()
    async with cancelled_when_blocked():
        await broadcast([left], b"message", result=result)
    assert statuses(result) == ["unknown"]


@pytest.mark.parametrize("data", ["text", 3, None])
async def test_what_is_no_message_is_refused_before_anything(pairs, data):
    lefts = [left for left, _ in pairs]
    with trio.CancelScope() as scope:
        scope.cancel()
        with pytest.raises(TypeError):
            await broadcast(lefts, data)
    with pytest.raises(TypeError):
        broadcast_nowait(lefts, data)
    assert lefts[0].statistics().send_calls == 0


async def test_what_is_no_stream_is_refused(pair):
    left, _right = pair
    memory, _ = memory_stream_pair()
    with pytest.raises(TypeError, match="not int"):
        await broadcast([left, 3], b"message")
    with pytest.raises(TypeError, match="not StapledStream"):
        broadcast_nowait([left, memory], b"message")
    assert left.statistics().send_calls == 0


async def test_a_stream_given_twice_is_refused(pair):
    left, _right = pair
    with pytest.raises(ValueError, match="twice"):
        await broadcast([left, left], b"message")
    with pytest.raises(ValueError, match="twice"):
        broadcast_nowait([left, left], b"message")
    assert left.statistics().send_calls == 0


def stay_full(stream):
    """Keep more from fitting in when a window is probed, after 0.2 seconds."""
    stream.socket.setsockopt(tsocket.SOL_SOCKET, tsocket.SO_RCVBUF, 4096)


@pytest.mark.parametrize("family", ["tcp"])
async def test_of_500_three_bad_peers_harm_nobody(make_streams, clog, reset):
    pairs = [await make_streams() for _ in range(500)]
    lefts = [left for left, _ in pairs]
    slow, dead, resetting = 17, 250, 499
    for number in slow, resetting:
        stay_full(pairs[number][1])
    clogged = await clog(pairs[slow][0])
    await clog(pairs[resetting][0])
    # It answers the first message with a reset.
    await pairs[dead][1].aclose()
    bad = {slow, dead, resetting}
    result = BroadcastResult()

    def check_the_others(message):
        loopback_is_through()
        for number, (_, right) in enumerate(pairs):
            if number not in bad:
                # Without a wait: it is there.
                assert right.socket._sock.recv(1000) == message

    async def announce():
        await broadcast(lefts, b"1" * 200)
        await broadcast(lefts, b"2" * 200, result=result)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(announce)
        await wait_all_tasks_blocked()
        # While the broadcast waits for the stragglers.
        check_the_others(b"1" * 200)
        await reset(pairs[resetting][1])
        await receive_exactly(pairs[slow][1], clogged + 400)
    check_the_others(b"2" * 200)
    assert {
        number: delivery.status
        for number, delivery in enumerate(result)
        if delivery.status != "sent"
    } == {dead: "broken", resetting: "broken"}


@pytest.mark.parametrize("family", ["tcp"])
async def test_a_deadline_tells_of_500_who_got_it(make_streams, clog, reset):
    pairs = [await make_streams() for _ in range(500)]
    slow, closed, resetting = 17, 250, 499
    stay_full(pairs[slow][1])
    await clog(pairs[slow][0])
    await pairs[closed][0].aclose()
    await reset(pairs[resetting][1])
    result = BroadcastResult()
    with trio.CancelScope() as scope:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(stop_when_blocked, scope)
            with trio.CancelScope():
                await broadcast(
                    [left for left, _ in pairs], b"m" * 200, result=result
                )
    assert [d.status for d in result.missed] == ["unsent", "closed", "broken"]
    whole = [d for d in result if d.status == "sent"]
    assert result.sent == whole
    loopback_is_through()
    for number, (_, right) in enumerate(pairs):
        if number not in (slow, closed, resetting):
            assert right.socket._sock.recv(1000) == b"m" * 200


async def stop_when_blocked(scope):
    await wait_all_tasks_blocked()
    scope.cancel()


def test_a_result_is_short_to_print():
    assert repr(BroadcastResult()) == "<BroadcastResult: 0 of 0 got all>"
    assert triobatch.Delivery.__slots__


async def test_a_result_says_how_many_got_all(pairs):
    await pairs[0][0].aclose()
    lefts = [left for left, _ in pairs]
    result = broadcast_nowait(lefts, b"x")
    count = len(lefts)
    said = f"{count - 1} of {count} got all"
    assert repr(result) == f"<BroadcastResult: {said}>"


class Failing(trio.abc.SendStream):
    """A stream of somebody's own, with an error of its own."""

    async def send_all(self, data):
        await trio.lowlevel.checkpoint()
        raise OSError(5, "no such luck")

    async def wait_send_all_might_not_block(self):
        await trio.lowlevel.checkpoint()

    async def aclose(self):
        await trio.lowlevel.checkpoint()


async def test_an_error_of_another_kind_harms_no_other_stream(small_pair):
    left, right = small_pair
    payload = bytes(300_000)
    received = 0

    async def read():
        nonlocal received
        while received < len(payload):
            received += len(await right.receive_some())

    async with trio.open_nursery() as nursery:
        nursery.start_soon(read)
        result = await broadcast([Failing(), left], payload)
    assert [delivery.status for delivery in result] == ["broken", "sent"]
    assert received == len(payload)


async def test_what_a_stream_of_somebodys_own_sent_before_it_broke_is_told():
    class Breaking(Failing):
        def send_buffers_nowait(self, buffers):
            buffers.consume(3)
            raise trio.BrokenResourceError

    (missed,) = broadcast_nowait([Breaking()], b"message").missed
    assert (missed.status, missed.sent) == ("broken", 3)
