"""What a batch sender tells of its target: broken, busy, and since when."""

from __future__ import annotations

import re
import sys

import pytest
import trio
from helpers import discard
from trio.testing import (
    assert_checkpoints,
    wait_all_tasks_blocked,
)

import triobatch
from triobatch import open_batch_sender

if sys.version_info < (3, 11):
    from exceptiongroup import BaseExceptionGroup


class BodyError(Exception):
    pass


class Failing(trio.abc.SendStream):
    """Another stream, which raises what it is told to."""

    def __init__(self, error):
        self.error = error

    async def send_all(self, data):
        raise self.error

    async def wait_send_all_might_not_block(self):
        raise NotImplementedError

    async def aclose(self):
        raise NotImplementedError


# The text.


async def test_what_broke_through_tls_is_said(make_streams, tls):
    client, server = tls
    left, right = await make_streams()
    stream = trio.SSLStream(left, client, server_hostname="localhost")
    peer = trio.SSLStream(right, server, server_side=True)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(peer.do_handshake)
        await stream.do_handshake()
    await right.aclose()
    with pytest.raises(trio.BrokenResourceError) as caught:
        async with open_batch_sender(stream) as sender:
            while True:
                await sender.send(b"x" * 2**16)
                await sender.flush()
    assert re.search("can't be sent to: .*(broken|reset)", str(caught.value))


@pytest.mark.parametrize("error", [trio.BrokenResourceError()])
async def test_an_error_without_a_word_is_named(error):
    with pytest.raises(
        trio.BrokenResourceError, match=r"sent to: BrokenResourceError$"
    ):
        async with open_batch_sender(Failing(error)) as sender:
            await sender.send(b"x")


# Busy.


async def intruder(stream):
    await stream.send_all(b"mine")


async def test_a_target_that_is_busy_is_told_at_once_and_by_whom(clogged_pair):
    left, _right = clogged_pair
    async with trio.open_nursery() as nursery:
        nursery.start_soon(intruder, left, name="the intruder")
        await wait_all_tasks_blocked()
        with pytest.raises(trio.BusyResourceError, match="the intruder"):
            async with open_batch_sender(left):
                pytest.fail("the block was entered")
        nursery.cancel_scope.cancel()


async def test_a_target_that_becomes_busy_ends_the_block_without_a_group(
    clogged_pair,
):
    left, _right = clogged_pair
    async with trio.open_nursery() as nursery:
        with pytest.raises(
            trio.BusyResourceError,
            match=r"target is this batch sender's alone: .*the intruder",
        ) as caught:
            async with open_batch_sender(left) as sender:
                nursery.start_soon(intruder, left, name="the intruder")
                await wait_all_tasks_blocked()
                await sender.send(b"unsent")
                await trio.sleep_forever()
        assert caught.value.__cause__.__traceback__ is None
        assert sender.unsent == [b"unsent"]
        # The others hear the same.
        with pytest.raises(trio.BusyResourceError):
            await sender.send(b"more")
        nursery.cancel_scope.cancel()


async def test_a_target_that_cannot_tell_is_told_when_it_is_its_turn():
    with pytest.raises(trio.BusyResourceError, match="alone: somebody else"):
        async with open_batch_sender(
            Failing(trio.BusyResourceError("somebody else"))
        ) as sender:
            await sender.send(b"unsent")
            await trio.sleep_forever()


async def test_the_body_s_own_error_comes_before_busy(clogged_pair):
    left, _right = clogged_pair
    async with trio.open_nursery() as nursery:
        with pytest.raises(BodyError):
            async with open_batch_sender(left) as sender:
                nursery.start_soon(intruder, left)
                await wait_all_tasks_blocked()
                await sender.send(b"unsent")
                try:
                    await trio.sleep_forever()
                finally:
                    raise BodyError
        nursery.cancel_scope.cancel()


async def test_a_body_s_nursery_is_cancelled_and_leaves_no_group():
    with pytest.raises(trio.BusyResourceError):
        async with (
            open_batch_sender(Failing(trio.BusyResourceError("x"))) as sender,
            trio.open_nursery() as nursery,
        ):
            nursery.start_soon(trio.sleep_forever)
            nursery.start_soon(trio.sleep_forever)
            await sender.send(b"unsent")


async def test_a_busy_datagram_socket_is_told_at_once(stuck_pair):
    filled, _right = stuck_pair
    async with trio.open_nursery() as nursery:
        nursery.start_soon(filled.send, b"mine", name="the intruder")
        await wait_all_tasks_blocked()
        with pytest.raises(trio.BusyResourceError, match="the intruder"):
            async with open_batch_sender(filled):
                pytest.fail("the block was entered")
        nursery.cancel_scope.cancel()


# Broken, and nobody sends.


async def test_a_body_that_does_not_send_can_wait_for_the_break(pair):
    left, right = pair
    with pytest.raises(trio.BrokenResourceError):
        async with open_batch_sender(left) as sender:
            async with trio.open_nursery() as nursery:

                @nursery.start_soon
                async def send_until_it_breaks():
                    with pytest.raises(trio.BrokenResourceError):
                        while True:
                            await sender.send(b"x" * 2**16)

                await right.aclose()
                with assert_checkpoints():
                    await sender.wait_broken()
            # And once more, at once.
            with assert_checkpoints():
                await sender.wait_broken()


async def test_closing_the_target_ends_the_wait_as_well(clogged_pair):
    left, _right = clogged_pair
    with pytest.raises(trio.ClosedResourceError):
        async with open_batch_sender(left) as sender:
            await sender.send(b"unsent")
            await wait_all_tasks_blocked()
            await left.aclose()
            await sender.wait_broken()


async def test_leaving_the_block_ends_the_wait_with_an_error(pair):
    async with trio.open_nursery() as nursery:
        async with open_batch_sender(pair[0]) as sender:

            @nursery.start_soon
            async def wait():
                with pytest.raises(trio.ClosedResourceError):
                    await sender.wait_broken()

            await wait_all_tasks_blocked()
        with assert_checkpoints(), pytest.raises(trio.ClosedResourceError):
            await sender.wait_broken()


async def test_the_wait_can_be_cancelled(pair):
    async with open_batch_sender(pair[0]) as sender:
        with trio.move_on_after(0.01) as scope:
            await sender.wait_broken()
        assert scope.cancelled_caught
        await sender.send(b"still of use")
    assert await pair[1].receive_some() == b"still of use"


async def test_a_datagram_sender_has_the_wait_too(udp_pair):
    left, _right, _address = udp_pair
    async with open_batch_sender(left) as sender:
        await left.aclose()
        with pytest.raises(trio.ClosedResourceError):
            await sender.send(b"x", ("127.0.0.1", 9))
        await sender.wait_broken()


# What waits now.


async def receive_for_ever(sock):
    while True:
        await sock.receive_batch()


async def test_the_longest_wait_counts_what_waits_now(
    clogged_pair, monkeypatch
):
    left, right = clogged_pair
    now = 0.0
    monkeypatch.setattr(trio, "current_time", lambda: now)
    async with open_batch_sender(left, grace=0) as sender:

        def wait():
            return sender.statistics().longest_wait

        now = 5.0
        assert wait() == 0
        await sender.send(b"on its way")
        await wait_all_tasks_blocked()
        now = 12.0
        assert wait() == 7
        await sender.send(b"queued")
        now = 15.0
        assert wait() == 10
        async with trio.open_nursery() as nursery:
            nursery.start_soon(discard, right)
            await sender.flush()
            nursery.cancel_scope.cancel()
        now = 100.0
        assert wait() == 10


async def test_the_longest_wait_of_datagrams_counts_what_waits_now(
    stuck_pair, monkeypatch
):
    filled, right = stuck_pair
    now = 0.0
    monkeypatch.setattr(trio, "current_time", lambda: now)
    async with open_batch_sender(filled) as sender:
        assert sender.statistics().longest_wait == 0
        sender.send_nowait(b"first")
        await wait_all_tasks_blocked()
        now = 7.0
        assert sender.statistics().longest_wait == 7
        sender.send_nowait(b"second")
        now = 8.0
        assert sender.statistics().longest_wait == 8
        async with trio.open_nursery() as nursery:
            nursery.start_soon(receive_for_ever, right)
            await sender.flush()
            nursery.cancel_scope.cancel()
        now = 100.0
        assert sender.statistics().longest_wait == 8


async def test_the_longest_wait_is_kept_when_the_block_is_left(
    clogged_pair, monkeypatch
):
    now = 0.0
    monkeypatch.setattr(trio, "current_time", lambda: now)
    with pytest.raises(BodyError):
        async with open_batch_sender(clogged_pair[0], grace=0) as sender:
            await sender.send(b"x")
            await wait_all_tasks_blocked()
            now = 3.0
            raise BodyError
    now = 50.0
    assert sender.statistics().longest_wait == 3


# The end, though what is unsent is more than memory holds.


async def test_what_is_unsent_and_too_large_to_keep_does_not_hang(
    clogged_pair,
):
    left, _right = clogged_pair
    huge = memoryview(bytes(1))

    class Huge(triobatch.Buffers):
        def read(self, size=-1):
            raise MemoryError

    async with trio.open_nursery() as nursery:
        with pytest.raises(BaseExceptionGroup) as caught, trio.fail_after(60):
            async with open_batch_sender(left, grace=0) as sender:
                await sender.send(b"x" * 100)
                await wait_all_tasks_blocked()
                sender._task._batch.buffers = Huge([huge])
                raise BodyError
        assert caught.group_contains(MemoryError)
        nursery.cancel_scope.cancel()
