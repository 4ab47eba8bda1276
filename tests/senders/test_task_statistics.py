"""What a batch sender has counted when its block is over, however it ended."""

from __future__ import annotations

import contextlib

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from triobatch import DatagramSocket, open_batch_sender, open_udp_socket


class BodyError(Exception):
    """What a body raises."""


ENDS = ["normally", "by an error", "by a cancellation", "by a break"]
ENDED = (BodyError, trio.BrokenResourceError, trio.ClosedResourceError)


async def read(stream):
    with contextlib.suppress(trio.BrokenResourceError):
        async for _ in stream:
            pass


@pytest.mark.parametrize("end", ENDS)
async def test_every_message_is_counted_once(small_pair, reset, end):
    left, right = small_pair
    messages = [b"%06d;" % number * 1000 for number in range(500)]
    async with trio.open_nursery() as nursery:
        with contextlib.suppress(*ENDED), trio.CancelScope() as scope:
            async with open_batch_sender(
                left, max_buffered=2**30, grace=0.01
            ) as sender:
                for message in messages:
                    sender.send_nowait(message)
                await wait_all_tasks_blocked()
                # So much that some are out, and others are not.
                while left.statistics().bytes_sent < 500_000:
                    await right.receive_some()
                if end == "normally":
                    nursery.start_soon(read, right)
                elif end == "by an error":
                    raise BodyError
                elif end == "by a cancellation":
                    scope.cancel()
                else:
                    await reset(right)
        done = sender.statistics()
        kept = len(sender.unsent) + bool(sender.unfinished)
        if end == "normally":
            assert kept == 0
        else:
            assert 0 < kept < 450
        assert done.messages == len(messages) - kept
        assert (done.batches, done.refused) == (1, 0)
        assert (done.buffered_size, done.waiting) == (0, 0)
        assert done.peak_size == len(b"".join(messages))
        assert done.longest_wait > 0
        assert done.send_calls == left.statistics().send_calls
        # What others send on it afterwards is not the sender's.
        if end == "normally":
            await left.send_all(b"!")
            assert sender.statistics() == done
        await left.aclose()
    assert sender.statistics() == done


@pytest.mark.parametrize("end", ENDS)
async def test_those_that_waited_for_room_were_never_buffered(
    clogged_pair, reset, end
):
    left, right = clogged_pair

    async def send(sender):
        with contextlib.suppress(*ENDED):
            await sender.send(b"refused")

    async with trio.open_nursery() as nursery:
        with contextlib.suppress(*ENDED), trio.CancelScope() as scope:
            async with open_batch_sender(left, max_buffered=0) as sender:
                sender.send_nowait(b"queued")
                nursery.start_soon(send, sender)
                await wait_all_tasks_blocked()
                assert sender.statistics().waiting == 1
                if end == "normally":
                    nursery.start_soon(read, right)
                elif end == "by an error":
                    raise BodyError
                elif end == "by a cancellation":
                    scope.cancel()
                else:
                    await reset(right)
        done = sender.statistics()
        sent = end == "normally"
        assert (done.messages, done.batches) == (sent, sent)
        assert (done.buffered_size, done.waiting) == (0, 0)
        assert done.peak_size == 6
        assert sender.unsent == ([] if sent else [b"queued"])
        await left.aclose()


@pytest.mark.parametrize("end", ENDS)
async def test_every_datagram_is_counted_once(datagram_pair, end):
    left, right = datagram_pair
    told = 0

    async def send(sender):
        nonlocal told
        with contextlib.suppress(*ENDED):
            await sender.send(b"waits")
            return
        told += 1

    async with trio.open_nursery() as nursery:
        with contextlib.suppress(*ENDED), trio.CancelScope() as scope:
            async with open_batch_sender(left, max_buffered=2**20) as sender:
                for number in range(1000):
                    sender.send_nowait(b"%d" % number)
                for _ in range(10):
                    nursery.start_soon(send, sender)
                # Larger than a Unix socket's buffer.
                sender.send_nowait(bytes(2**20))
                await wait_all_tasks_blocked()
                if end == "normally":
                    nursery.start_soon(discard_datagrams, right)
                    await sender.flush()
                elif end == "by an error":
                    raise BodyError
                elif end == "by a cancellation":
                    scope.cancel()
                else:
                    await left.aclose()
        await wait_all_tasks_blocked()
        nursery.cancel_scope.cancel()
    done = sender.statistics()
    assert done.messages + done.refused + told + len(sender.unsent) == 1011
    assert done.messages > 0
    if end == "normally":
        assert (told, sender.unsent, done.refused) == (0, [], 1)
    else:
        assert (told, done.refused, done.batches) == (10, 0, 1)
    assert (done.buffered_size, done.waiting) == (0, 0)
    assert done.peak_size > 2**20


async def discard_datagrams(socket: DatagramSocket):
    while True:
        await socket.receive_batch()


async def test_what_others_send_afterwards_is_not_counted():
    async with await open_udp_socket(local_address=("127.0.0.1", 0)) as sock:
        address = sock.socket.getsockname()
        async with open_batch_sender(sock) as sender:
            await sender.send(b"mine", address)
        await sock.send(b"another's", address)
        assert sender.statistics().send_calls == 1


def test_they_are_told_behind_the_end_of_the_event_loop():
    kept = []

    async def main():
        left, right = trio.testing.memory_stream_pair()
        async with open_batch_sender(left) as sender:
            await sender.send(b"message")
        kept.append(sender)
        assert await right.receive_some() == b"message"

    trio.run(main)
    [sender] = kept
    assert sender.statistics().messages == 1
    assert "0 bytes queued" in repr(sender)
