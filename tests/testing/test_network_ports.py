"""The buffers of a simulated socket."""

from __future__ import annotations

import pytest
import trio
from trio.testing import assert_checkpoints

from triobatch.testing import (
    NetworkConditions,
    open_simulated_network,
    simulate,
)
from triobatch.testing._network_ports import OVERHEAD

A, B = ("10.0.0.1", 1), ("10.0.0.2", 2)


@pytest.mark.parametrize(
    ("room", "kept"),
    [
        (1, 1),
        (1000 + OVERHEAD, 1),
        (1001 + OVERHEAD, 2),
        (2 * (1000 + OVERHEAD), 2),
    ],
)
async def test_what_finds_no_room_is_dropped_and_counted(room, kept):
    async with open_simulated_network(0) as network:
        a = network.open_socket(A)
        b = network.open_socket(B, receive_buffer_size=room)
        assert await a.send_many([bytes(1000)] * 10, B) == 10
        assert b.statistics().kernel_drops == 10 - kept
        assert network.statistics().dropped == 10 - kept
        assert len(await b.receive_batch()) == kept
        # What was received has left its room.
        await a.send(bytes(1000), B)
        assert len(await b.receive_batch()) == 1


def test_a_slow_path_fills_the_send_buffer():
    async def main(network):
        # Room for two: the first is on its way, and the second may exceed it.
        a = network.open_socket(A, send_buffer_size=1001 + OVERHEAD)
        sizes = [972, 970, 974, 972]
        assert a.send_many_nowait(map(bytes, sizes), B) == 2
        with pytest.raises(trio.WouldBlock):
            a.send_nowait(b"x", B)
        with assert_checkpoints():
            await a.send(bytes(972), B)
        times.append(trio.current_time())
        with trio.CancelScope() as scope:
            scope.cancel()
            await a.send(b"never", B)
        await a.send_many([bytes(972), bytes(973)], B)
        times.append(trio.current_time())

    times = []
    simulate(main, conditions=NetworkConditions(rate=1000))
    # A datagram with its headers a second.
    assert times == pytest.approx([1, 2.998])


def test_each_way_has_a_rate_of_its_own():
    async def main(network):
        a, b = network.open_socket(A), network.open_socket(B)
        c = network.open_socket(("10.0.0.3", 3))
        await a.send(bytes(972), B)
        await a.send(bytes(972), B)
        await a.send(bytes(972), ("10.0.0.3", 3))
        await b.send(bytes(972), A)
        for sock in (c, a, b):
            await sock.receive()
            times.append(trio.current_time())
        await b.receive()
        times.append(trio.current_time())

    times = []
    simulate(main, conditions=NetworkConditions(rate=1000, delay=0.5))
    assert times == pytest.approx([1.5, 1.5, 1.5, 2.5])


@pytest.mark.parametrize("size", [1, 1000])
async def test_no_room_to_receive_is_no_end(size):
    async with open_simulated_network(0) as network:
        a = network.open_socket(A)
        b = network.open_socket(B, receive_buffer_size=100_000)
        received = 0
        for _ in range(50):
            await a.send_segments(bytes(size * 60), size, B)
            received += len(await b.receive_batch(7))
            received += len(await b.receive_batch(64))
        with pytest.raises(trio.WouldBlock):
            while True:
                received += len(b.receive_batch_nowait())
        assert received + b.statistics().kernel_drops == 3000
