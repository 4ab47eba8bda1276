"""An error that is kept keeps no payload exported."""

from __future__ import annotations

import errno

import pytest
import trio
from needs import needs_metadata
from trio.testing import wait_all_tasks_blocked

from triobatch import (
    DatagramErrorGroup,
    Metadata,
    open_batch_sender,
)
from triobatch.testing import os_error, scripted_calls

WAYS = {
    "send": lambda sock, data: sock.send(data),
    "send_many": lambda sock, data: sock.send_many([data, data]),
    "send_batch": lambda sock, data: sock.send_batch([(data, None)]),
    "with metadata": lambda sock, data: sock.send_batch(
        [(data, None), (data, None, Metadata(tos=4))]
    ),
    "send_segments": lambda sock, data: sock.send_segments(data, 3),
}
ALL_WAYS = [
    pytest.param(way, marks=needs_metadata) if "metadata" in way else way
    for way in WAYS
]


@pytest.mark.parametrize("way", ALL_WAYS)
async def test_of_a_call_whose_socket_was_closed(stuck_pair, way):
    sock, _ = stuck_pair
    data = bytearray(b"payload")
    kept = []

    async def send():
        try:
            await WAYS[way](sock, data)
        except trio.ClosedResourceError as error:
            kept.append(error)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(send)
        await wait_all_tasks_blocked()
        await sock.aclose()
    assert kept[0].__traceback__
    # A BufferError if it were exported.
    data.append(0)


AT_ONCE = {
    "send_nowait": lambda sock, data: sock.send_nowait(data),
    "send_many_nowait": lambda sock, data: sock.send_many_nowait([data, data]),
    "send_segments_nowait": lambda sock, data: sock.send_segments_nowait(
        data, 3
    ),
}


@pytest.mark.parametrize("way", ALL_WAYS)
async def test_of_a_call_that_fails(udp_pair, way):
    sock, *_ = udp_pair
    data = bytearray(b"payload")
    with (
        scripted_calls(sock, sending=[os_error(errno.EPIPE)]),
        pytest.raises(BrokenPipeError) as kept,
    ):
        await WAYS[way](sock, data)
    assert kept.value.__traceback__
    data.append(0)


@pytest.mark.parametrize("way", AT_ONCE)
async def test_of_a_call_at_once_that_fails(udp_pair, way):
    sock, *_ = udp_pair
    data = bytearray(b"payload")
    with (
        scripted_calls(sock, sending=[os_error(errno.EPIPE)]),
        pytest.raises(BrokenPipeError) as kept,
    ):
        AT_ONCE[way](sock, data)
    assert kept.value.__traceback__
    data.append(0)


@pytest.mark.parametrize("way", AT_ONCE)
async def test_of_a_call_that_would_block(stuck_pair, way):
    sock, _ = stuck_pair
    data = bytearray(b"payload")
    with pytest.raises(trio.WouldBlock) as kept:
        AT_ONCE[way](sock, data)
    assert kept.value.__traceback__
    data.append(0)


@needs_metadata
async def test_of_a_batch_of_a_sender_that_was_refused(udp_pair):
    sock, *_ = udp_pair
    data = bytearray(b"payload")
    async with open_batch_sender(sock) as sender:
        with pytest.raises(DatagramErrorGroup) as caught:
            await sender.send_batch(
                [(data, ("::1", 9)), (data, ("::1", 9), Metadata(tos=4))]
            )
    assert caught.value.__traceback__
    data.append(0)
