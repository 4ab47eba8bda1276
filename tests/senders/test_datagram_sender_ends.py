"""Withdrawing datagrams, flushing, and leaving the block."""

from __future__ import annotations

import functools

import helpers
import pytest
import trio
from needs import needs_unix_sockets
from trio.testing import wait_all_tasks_blocked

from triobatch import DatagramSocket, open_batch_sender

receive_all = functools.partial(helpers.receive_all, besides=b"filling")


class BodyError(Exception):
    """What a body raises."""


async def cancel_soon(scope):
    await wait_all_tasks_blocked()
    scope.cancel()


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


@needs_unix_sockets
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
