"""Leaving a batch sender through TLS, which cannot tell what was sent."""

from __future__ import annotations

from contextlib import suppress

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

import triobatch
from triobatch import BatchSocketStream, open_batch_sender

PIECE = 65536


class BodyError(Exception):
    """What a body raises."""


class Transport(trio.abc.SendStream):
    """Takes so many pieces, and no more; or breaks."""

    def __init__(self, count, error=None):
        self.pieces = []
        self._count = count
        self._error = error

    async def send_all(self, data):
        await trio.lowlevel.checkpoint()
        if len(self.pieces) == self._count:
            if self._error is not None:
                raise self._error
            await trio.sleep_forever()
        self.pieces.append(bytes(data))

    async def wait_send_all_might_not_block(self):
        await trio.lowlevel.checkpoint()

    async def aclose(self):
        await trio.lowlevel.checkpoint()


LARGE = bytes(range(251)) * 1000
SMALL = [b"small %d" % number for number in range(5)]


async def leave(stream, messages, *, by_error, **options):
    error = BodyError if by_error else trio.BrokenResourceError
    with pytest.raises(error):
        async with open_batch_sender(
            stream, max_buffered=2**30, **options
        ) as sender:
            for message in messages:
                sender.send_nowait(message)
            await wait_all_tasks_blocked()
            if by_error:
                raise BodyError
            await sender.flush()
    return sender


HOW = pytest.mark.parametrize("by_error", [True, False])


def broken(by_error):
    return None if by_error else trio.BrokenResourceError()


@HOW
async def test_a_batch_cut_off_is_uncertain_whole(by_error):
    stream = Transport(0, broken(by_error))
    sender = await leave(stream, [*SMALL, LARGE], by_error=by_error, grace=0)
    assert sender.uncertain == SMALL
    assert sender.unsent == [LARGE]
    assert sender.unfinished == b""
    assert sender.statistics().messages == 0


@HOW
async def test_a_large_message_cut_off_at_once_is_uncertain(by_error):
    stream = Transport(1, broken(by_error))
    messages = [SMALL[0], LARGE, SMALL[1]]
    sender = await leave(stream, messages, by_error=by_error, grace=0)
    assert stream.pieces == [SMALL[0]]
    assert sender.uncertain == [LARGE]
    assert sender.unsent == [SMALL[1]]
    assert sender.unfinished == b""
    done = sender.statistics()
    assert (done.messages, done.batches, done.buffered_size) == (1, 1, 0)


@HOW
@pytest.mark.parametrize("gathered", [False, True])
async def test_a_large_message_cut_off_later_is_unfinished(by_error, gathered):
    stream = Transport(2, broken(by_error))
    message = (
        triobatch.Buffers([LARGE[:99], LARGE[99:]]) if gathered else LARGE
    )
    sender = await leave(stream, [message, *SMALL], by_error=by_error, grace=0)
    assert stream.pieces == [LARGE[:PIECE], LARGE[PIECE : 2 * PIECE]]
    # From the piece on of which nobody knows.
    assert sender.unfinished == LARGE[2 * PIECE :]
    assert sender.uncertain == []
    assert sender.unsent == SMALL
    assert sender.statistics().messages == 0


async def test_a_large_message_has_the_grace_time_for_all_its_pieces():
    stream = Transport(100)
    with pytest.raises(BodyError):
        async with open_batch_sender(stream, grace=60) as sender:
            sender.send_nowait(LARGE)
            sender.send_nowait(b"after")
            while not stream.pieces:
                await trio.lowlevel.checkpoint()
            raise BodyError
    assert b"".join(stream.pieces) == LARGE
    assert sender.unsent == [b"after"]
    assert (sender.uncertain, sender.unfinished) == ([], b"")


@pytest.mark.parametrize("family", ["tcp"])
@pytest.mark.parametrize("size", [1000, 1_000_000])
async def test_what_a_tls_peer_got_is_among_what_is_not_known(
    small_pair, tls, size
):
    left, right = small_pair
    sending = trio.SSLStream(left, tls[0], server_hostname="localhost")
    receiving = trio.SSLStream(right, tls[1], server_side=True)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(sending.do_handshake)
        nursery.start_soon(receiving.do_handshake)
    # More than the two buffers between them hold, of the small ones too.
    messages = [b"%06d;" % number * (size // 7) for number in range(400)]
    sender = await leave(sending, messages, by_error=True, grace=0.01)
    assert isinstance(left, BatchSocketStream)
    assert sender.uncertain or sender.unfinished
    await left.aclose()
    received = bytearray()
    # Python's builds differ in what an end without close_notify is to them.
    with suppress(trio.BrokenResourceError):
        async for data in receiving:
            received += data
    everything = b"".join(messages)
    assert everything.startswith(received)
    rest = [*sender.uncertain, *sender.unsent]
    first = len(messages) - len(rest)
    assert messages[first:] == rest
    # All before it has arrived, and nothing behind it.
    certain = len(b"".join(messages[:first])) - len(sender.unfinished)
    behind = len(b"".join(sender.unsent))
    assert certain <= len(received) <= len(everything) - behind
    assert sender.statistics().messages == first - bool(sender.unfinished)
