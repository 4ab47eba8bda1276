"""A batch of one task among those of others, and what is left of it."""

from __future__ import annotations

import contextlib
import functools

import helpers
import pytest
import trio
from trio.testing import assert_checkpoints, wait_all_tasks_blocked

from triobatch import DatagramErrorGroup, Datagrams, open_batch_sender

receive_all = functools.partial(helpers.receive_all, besides=b"filling")


class BodyError(Exception):
    """What a body raises."""


async def cancel_soon(scope):
    await wait_all_tasks_blocked()
    scope.cancel()


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


async def test_a_cork_does_not_hold_back_a_batch(udp_pair):
    left, right, address = udp_pair
    async with open_batch_sender(left) as sender:
        with sender.corked(), trio.fail_after(60):
            assert await sender.send_batch([(b"1", address)] * 2) == 2
    assert await receive_all(right, 2) == [b"1", b"1"]
