"""Datagrams of many tasks on one socket, each of which learns its outcome."""

from __future__ import annotations

import contextlib
import errno

import pytest
import trio
from trio.testing import assert_checkpoints, wait_all_tasks_blocked

from triobatch import (
    Buffers,
    DatagramError,
    DatagramErrorGroup,
    Datagrams,
    DatagramSocket,
    open_batch_sender,
)


class BodyError(Exception):
    """What a body raises."""


async def receive_all(socket, count):
    received = []
    while len(received) < count:
        received += [
            data
            for data, _ in await socket.receive_batch()
            if data != b"filling"
        ]
    return received


async def test_every_call_is_a_checkpoint(udp_pair):
    left, _right, address = udp_pair
    async with open_batch_sender(left) as sender:
        for data in (b"bytes", b"", bytearray(b"mutable"), Buffers([b"a"])):
            with assert_checkpoints():
                await sender.send(data, address)
        with assert_checkpoints():
            await sender.flush()


async def test_a_thousand_tasks_send_in_few_batches(udp_pair):
    left, right, address = udp_pair
    right.socket.setsockopt(
        trio.socket.SOL_SOCKET, trio.socket.SO_RCVBUF, 2**22
    )
    async with open_batch_sender(left) as sender:
        async with trio.open_nursery() as nursery:
            for number in range(200):
                nursery.start_soon(sender.send, b"%d" % number, address)
        done = sender.statistics()
        assert (done.messages, done.waiting, done.buffered_size) == (200, 0, 0)
        assert done.messages / done.batches > 50
        assert done.send_calls <= 10
    received = await receive_all(right, 200)
    assert sorted(received) == sorted(b"%d" % n for n in range(200))


async def test_a_buffers_is_one_datagram_and_is_consumed(udp_pair):
    left, right, address = udp_pair
    message = Buffers([b"one ", bytearray(b"two")])
    async with open_batch_sender(left) as sender:
        await sender.send(message, address)
        assert not message
        message.extend([b"a", b"b"])
        sender.send_nowait(message, address)
        assert not message
    assert await receive_all(right, 2) == [b"one two", b"ab"]


async def test_each_learns_its_own_outcome(udp_pair):
    left, right, address = udp_pair
    outcomes = {}

    async def send(sender, number):
        # Every third is larger than a datagram can be.
        data = b"x" * 70_000 if number % 3 == 0 else b"%d" % number
        try:
            await sender.send(data, address)
        except DatagramError as error:
            outcomes[number] = error.errno, error.address
        else:
            outcomes[number] = None

    async with open_batch_sender(left) as sender:
        async with trio.open_nursery() as nursery:
            for number in range(9):
                nursery.start_soon(send, sender, number)
        done = sender.statistics()
    assert outcomes == {
        number: (errno.EMSGSIZE, address) if number % 3 == 0 else None
        for number in range(9)
    }
    assert (done.messages, done.refused, done.buffered_size) == (6, 3, 0)
    assert len(await receive_all(right, 6)) == 6


async def test_a_batch_learns_its_own_outcomes(udp_pair):
    left, right, address = udp_pair
    large = b"x" * 70_000
    async with open_batch_sender(left) as sender:
        with assert_checkpoints():
            assert await sender.send_batch([]) == 0
        with assert_checkpoints():
            assert await sender.send_batch([(b"1", address)] * 3) == 3
        sender.send_nowait(large, address)
        with pytest.raises(DatagramErrorGroup) as refused:
            await sender.send_batch(
                [(b"2", address), (large, address), (b"3", address)]
            )
        assert refused.value.sent == 2
        assert [error.index for error in refused.value.exceptions] == [1]
    assert sorted(await receive_all(right, 5)) == [
        b"1",
        b"1",
        b"1",
        b"2",
        b"3",
    ]


async def test_a_batch_that_is_cancelled_is_withdrawn(stuck_pair):
    left, right = stuck_pair
    async with (
        trio.open_nursery() as nursery,
        open_batch_sender(left) as sender,
    ):
        with trio.CancelScope() as scope:
            nursery.start_soon(cancel_soon, scope)
            await sender.send_batch([(b"a", None), (b"b", None)])
        assert scope.cancelled_caught
        assert sender.statistics().waiting == 0
        sender.send_nowait(b"c")
        assert await receive_all(right, 1) == [b"c"]


async def test_a_batch_that_was_sent_is_consumed(udp_pair):
    left, right, address = udp_pair
    payload = bytearray(b"1")
    datagrams = Datagrams([(payload, address), (b"2", address)])
    async with open_batch_sender(left) as sender:
        assert await sender.send_batch(datagrams) == 2
        assert list(datagrams) == []
        payload += b"!"
        assert await sender.send_batch(datagrams) == 0
    assert sorted(await receive_all(right, 2)) == [b"1", b"2"]


async def test_a_refused_batch_holds_what_was_refused(udp_pair):
    left, right, address = udp_pair
    large = b"x" * 70_000
    datagrams = Datagrams(
        [(b"1", address), (large, address), (b"2", address), (large, address)]
    )
    async with open_batch_sender(left) as sender:
        with pytest.raises(DatagramErrorGroup) as refused:
            await sender.send_batch(datagrams)
    assert [error.index for error in refused.value.exceptions] == [1, 3]
    assert list(datagrams) == [(large, address)] * 2
    assert sorted(await receive_all(right, 2)) == [b"1", b"2"]


@pytest.mark.parametrize("how", ["cancelled", "left", "closed"])
async def test_a_batch_cut_short_holds_exactly_what_was_not_sent(
    datagram_pair, how
):
    left, right = datagram_pair
    payloads = [bytearray(b"%03d" % number) for number in range(500)]
    datagrams = Datagrams([(payload, None) for payload in payloads])
    ends = {
        "left": trio.ClosedResourceError,
        "closed": trio.ClosedResourceError,
    }
    scope = trio.CancelScope()

    async def send(sender):
        if how == "cancelled":
            with scope:
                await sender.send_batch(datagrams)
            assert scope.cancelled_caught
        else:
            with pytest.raises(ends[how]):
                await sender.send_batch(datagrams)

    async with trio.open_nursery() as nursery:
        with contextlib.suppress(BodyError, trio.ClosedResourceError):
            async with open_batch_sender(left) as sender:
                nursery.start_soon(send, sender)
                await wait_all_tasks_blocked()
                with pytest.raises(trio.BusyResourceError):
                    await sender.send_batch(datagrams)
                with pytest.raises(BufferError):
                    datagrams.clear()
                datagrams.append((b"added", None))
                if how == "left":
                    raise BodyError
                if how == "closed":
                    await left.aclose()
                scope.cancel()
                await wait_all_tasks_blocked()
    rest = [bytes(payload) for payload, _ in datagrams]
    sent = sender.statistics().messages
    assert 0 < sent < 500
    assert rest == [*map(bytes, payloads[sent:]), b"added"]
    received = await receive_all(right, sent)
    assert received == list(map(bytes, payloads[:sent]))
    # Nothing else holds on to what was not sent.
    datagrams.clear()
    for payload in payloads:
        payload.append(33)


async def test_each_is_told_as_soon_as_the_kernel_has_its_own(stuck_pair):
    left, right = stuck_pair
    told = []

    async def send(sender, number):
        await sender.send(b"%d" % number)
        told.append(number)

    async with (
        open_batch_sender(left) as sender,
        trio.open_nursery() as nursery,
    ):
        for number in range(1000):
            nursery.start_soon(send, sender, number)
        await wait_all_tasks_blocked()
        assert told == []
        while not told:
            await right.receive()
            await wait_all_tasks_blocked()
        # The rest of the batch is still waiting.
        assert sender.statistics().waiting == 1000 - len(told) > 0
        assert sender.statistics().messages == len(told)
        await receive_all(right, 1000)


async def test_a_batch_is_told_when_the_block_is_left(stuck_pair):
    left, _right = stuck_pair

    async def send(sender):
        with pytest.raises(trio.ClosedResourceError):
            await sender.send_batch([(b"a", None), (b"b", None)])

    async with trio.open_nursery() as nursery:
        with pytest.raises(BodyError):
            async with open_batch_sender(left) as sender:
                nursery.start_soon(send, sender)
                await wait_all_tasks_blocked()
                raise BodyError
    assert sender.unsent == []


async def test_a_refused_buffers_is_left_as_it_was(udp_pair):
    left, _right, address = udp_pair
    message = Buffers([b"x" * 40_000, b"x" * 40_000])
    async with open_batch_sender(left) as sender:
        with pytest.raises(DatagramError):
            await sender.send(message, address)
    assert message.nbytes == 80_000


async def test_what_send_nowait_queues_leaves_in_one_batch(udp_pair):
    left, right, address = udp_pair
    async with open_batch_sender(left) as sender:
        for number in range(20):
            sender.send_nowait(b"%02d" % number, address)
        sender.send_nowait(b"x" * 70_000, address)
        await sender.flush()
        done = sender.statistics()
    assert (done.messages, done.refused, done.batches) == (20, 1, 1)
    assert await receive_all(right, 20) == [b"%02d" % n for n in range(20)]


async def test_send_nowait_says_when_there_is_no_room(stuck_pair):
    left, right = stuck_pair
    async with open_batch_sender(left, max_buffered=1000) as sender:
        message = Buffers([b"kept"])
        with pytest.raises(trio.WouldBlock):
            while True:
                sender.send_nowait(b"")
        with pytest.raises(trio.WouldBlock):
            sender.send_nowait(message)
        assert message.nbytes == 4
        count = sender._task.outbox.count
        # Those without bytes are not let in without end.
        assert count == 1000 // 64 + 1
        async with trio.open_nursery() as nursery:
            nursery.start_soon(sender.flush)
            assert await receive_all(right, count) == [b""] * count


async def test_a_send_cancelled_in_the_queue_is_withdrawn(stuck_pair):
    left, right = stuck_pair
    async with (
        open_batch_sender(left) as sender,
        trio.open_nursery() as nursery,
    ):
        scopes = [trio.CancelScope() for _ in range(6)]

        async def send(number):
            with scopes[number]:
                await sender.send(b"%d" % number)

        # Three in the batch that waits, and three behind it.
        for number in range(6):
            nursery.start_soon(send, number)
            if number in (2, 5):
                await wait_all_tasks_blocked()
        scopes[1].cancel()
        scopes[4].cancel()
        await wait_all_tasks_blocked()
        assert scopes[1].cancelled_caught
        assert scopes[4].cancelled_caught
        assert sender.statistics().waiting == 4
        received = await receive_all(right, 4)
    assert sorted(received) == [b"0", b"2", b"3", b"5"]
    assert sender.statistics().buffered_size == 0


async def test_when_all_are_withdrawn_the_next_need_not_wait():
    # An unconnected Unix socket waits for the peer that is stuck.
    with (
        trio.socket.socket(
            trio.socket.AF_UNIX, trio.socket.SOCK_DGRAM
        ) as left,
        trio.socket.socket(
            trio.socket.AF_UNIX, trio.socket.SOCK_DGRAM
        ) as stuck,
        trio.socket.socket(
            trio.socket.AF_UNIX, trio.socket.SOCK_DGRAM
        ) as free,
    ):
        for number, sock in enumerate((stuck, free)):
            await sock.bind(b"\0triobatch-%d-%d" % (id(left), number))
        target = DatagramSocket(left)
        with pytest.raises(trio.WouldBlock):
            while True:
                target.send_nowait(b"filling", stuck.getsockname())
        async with open_batch_sender(target) as sender:
            with trio.CancelScope() as scope:
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(
                        sender.send, b"never", stuck.getsockname()
                    )
                    await wait_all_tasks_blocked()
                    scope.cancel()
            await sender.send(b"now", free.getsockname())
            assert await free.recv(100) == b"now"


async def test_a_flush_of_what_was_withdrawn_ends(stuck_pair):
    left, _right = stuck_pair
    async with (
        open_batch_sender(left) as sender,
        trio.open_nursery() as nursery,
    ):
        with trio.CancelScope() as scope:
            nursery.start_soon(cancel_soon, scope)
            await sender.send(b"withdrawn")
        await sender.flush()
    assert scope.cancelled_caught


async def cancel_soon(scope):
    await wait_all_tasks_blocked()
    scope.cancel()


async def test_a_flush_ends_when_the_batch_to_come_was_withdrawn(stuck_pair):
    left, right = stuck_pair
    async with (
        open_batch_sender(left) as sender,
        trio.open_nursery() as nursery,
    ):
        sender.send_nowait(b"on its way")
        await wait_all_tasks_blocked()
        scope = trio.CancelScope()

        async def send():
            with scope:
                await sender.send(b"withdrawn")

        nursery.start_soon(send)
        await wait_all_tasks_blocked()
        nursery.start_soon(sender.flush)
        await wait_all_tasks_blocked()
        scope.cancel()
        assert await receive_all(right, 1) == [b"on its way"]


async def test_a_mutable_payload_is_exported_until_it_is_sent(stuck_pair):
    left, right = stuck_pair
    payload = bytearray(b"mutable")
    async with open_batch_sender(left) as sender:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(sender.send, payload)
            await wait_all_tasks_blocked()
            with pytest.raises(BufferError):
                payload += b"!"
            assert await receive_all(right, 1) == [b"mutable"]
        payload += b"!"
        # A copy was queued of this one.
        sender.send_nowait(payload)
        payload[:] = b"another"
        payload += b"!"
    assert await receive_all(right, 1) == [b"mutable!"]


async def test_leaving_normally_sends_everything(stuck_pair):
    left, right = stuck_pair
    received = []

    async def receive():
        await wait_all_tasks_blocked()
        received.extend(await receive_all(right, 2))

    async with (
        trio.open_nursery() as nursery,
        open_batch_sender(left) as sender,
    ):
        sender.send_nowait(b"one")
        nursery.start_soon(sender.send, b"two")
        nursery.start_soon(receive)
        await trio.lowlevel.checkpoint()
        await trio.lowlevel.checkpoint()
    assert received == [b"one", b"two"]
    assert sender.unsent == []
    with pytest.raises(trio.ClosedResourceError):
        await sender.send(b"late")
    with pytest.raises(trio.ClosedResourceError):
        sender.send_nowait(b"late")
    with pytest.raises(trio.ClosedResourceError):
        await sender.flush()


async def test_an_exception_leaves_what_nobody_was_told_of(stuck_pair):
    left, _right = stuck_pair
    async with trio.open_nursery() as nursery:
        with pytest.raises(BodyError):
            async with open_batch_sender(left) as sender:
                sender.send_nowait(b"one")
                await wait_all_tasks_blocked()
                sender.send_nowait(b"two")

                async def expect_closed(call, *arguments):
                    with pytest.raises(trio.ClosedResourceError):
                        await call(*arguments)

                nursery.start_soon(expect_closed, sender.send, b"told")
                nursery.start_soon(expect_closed, sender.flush)
                await wait_all_tasks_blocked()
                raise BodyError
    assert sender.unsent == [(b"one", None), (b"two", None)]


async def test_a_socket_that_is_closed_is_told(stuck_pair):
    left, _right = stuck_pair
    with pytest.raises(trio.ClosedResourceError):
        async with (
            open_batch_sender(left) as sender,
            trio.open_nursery() as nursery,
        ):
            sender.send_nowait(b"unsent")

            async def expect_closed():
                with pytest.raises(trio.ClosedResourceError):
                    await sender.send(b"told")

            nursery.start_soon(expect_closed)
            await wait_all_tasks_blocked()
            await left.aclose()
    assert sender.unsent == [(b"unsent", None)]


@pytest.mark.parametrize(
    ("data", "address", "error"),
    [
        ("text", None, TypeError),
        (3, None, TypeError),
        (memoryview(b"abcdef")[::2], None, BufferError),
        (b"x", 3, TypeError),
        (b"x", ("127.0.0.1", "53"), TypeError),
        (b"x", ("127.0.0.1", 65536), ValueError),
    ],
)
async def test_what_is_impossible_is_refused_before_anything(
    udp_pair, data, address, error
):
    left, _right, _ = udp_pair
    async with open_batch_sender(left) as sender:
        with trio.CancelScope() as scope:
            scope.cancel()
            with pytest.raises(error):
                await sender.send(data, address)
        with pytest.raises(error):
            sender.send_nowait(data, address)
        assert sender.statistics().buffered_size == 0
