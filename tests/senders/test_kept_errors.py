"""An error that is kept keeps no payload exported."""

from __future__ import annotations

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from triobatch import DatagramErrorGroup, Metadata, open_batch_sender

WAYS = {
    "send": lambda sock, data: sock.send(data),
    "send_many": lambda sock, data: sock.send_many([data, data]),
    "send_batch": lambda sock, data: sock.send_batch([(data, None)]),
    "with metadata": lambda sock, data: sock.send_batch(
        [(data, None), (data, None, Metadata(tos=4))]
    ),
    "send_segments": lambda sock, data: sock.send_segments(data, 3),
}


@pytest.mark.parametrize("way", WAYS)
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
