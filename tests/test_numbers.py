"""Numbers of other types than int and float, in all the ways in."""

from __future__ import annotations

import os
from decimal import Decimal
from fractions import Fraction

import pytest
import trio

import triobatch
from triobatch.testing import (
    NetworkConditions,
    memory_datagram_pair,
    simulate,
)


class Index:
    """An integer, as those of NumPy are."""

    def __init__(self, value):
        self.value = value

    def __index__(self):
        return self.value


TIMES = (Decimal("0.5"), Fraction(1, 2), Index(1))
LOCAL = ("127.0.0.1", 0)


async def free_port():
    async with await triobatch.open_udp_socket(local_address=LOCAL) as sock:
        return sock.local_address[1]


@pytest.mark.parametrize("delay", TIMES)
async def test_the_delay_of_a_connection(delay):
    (listener,) = await triobatch.open_tcp_listeners(0, host="127.0.0.1")
    async with listener:
        port = listener.socket.getsockname()[1]
        async with await triobatch.open_tcp_stream(
            "127.0.0.1", Index(port), happy_eyeballs_delay=delay
        ) as stream:
            assert stream.socket.getpeername()[1] == port


@pytest.mark.parametrize("grace", TIMES)
async def test_the_grace_of_what_is_shared(grace, pair):
    for size in 1000, Index(1000):
        (listener,) = await triobatch.open_tcp_listeners(0, host="127.0.0.1")
        port = listener.socket.getsockname()[1]
        async with (
            triobatch.open_shared_listeners(
                [listener], max_buffered=size, grace=grace
            ) as (shared,),
            await trio.open_tcp_stream("127.0.0.1", port),
        ):
            stream = await shared.accept()
            await stream.send_all(b"x")
            await stream.aclose()
    async with triobatch.open_shared_stream(
        pair[0], max_buffered=Index(1000), grace=grace
    ) as shared:
        await shared.send_all(b"x")
        await shared.aclose()
    async with triobatch.open_batch_sender(pair[1], grace=grace):
        """And is left."""


@pytest.mark.parametrize("size", [0, 5, 2**31])
async def test_the_size_of_a_receive_buffer(size, nursery):
    async def handler(datagrams, sender):
        """Nothing comes."""

    async with await triobatch.open_udp_socket(
        receive_buffer_size=Index(size)
    ) as sock:
        assert sock.local_address is not None
    port = await free_port()
    (served,) = await nursery.start(
        lambda task_status: triobatch.serve_udp(
            handler,
            Index(port),
            host="127.0.0.1",
            receive_buffer_size=Index(size),
            max_datagrams=Index(5),
            task_status=task_status,
        )
    )
    assert served.local_address[1] == port
    nursery.cancel_scope.cancel()


async def test_the_ports_of_a_udp_socket():
    port = await free_port()
    async with (
        await triobatch.open_udp_socket(
            local_address=("127.0.0.1", Index(port))
        ) as near,
        await triobatch.open_udp_socket(
            remote_address=("127.0.0.1", Index(port))
        ) as far,
    ):
        await far.send(b"x")
        assert (await near.receive())[0] == b"x"


@pytest.mark.parametrize("backlog", [-1, 0, 5, 10**30])
async def test_a_backlog(backlog, tmp_path):
    for listener in (
        await triobatch.open_unix_listener(
            tmp_path / "socket", backlog=Index(backlog), mode=Index(0o600)
        ),
        *await triobatch.open_tcp_listeners(
            0, host="127.0.0.1", backlog=Index(backlog)
        ),
    ):
        await listener.aclose()
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize(
    ("time", "limit"),
    list(zip(TIMES, (Decimal(1), Fraction(1), Index(2)), strict=True)),
)
def test_the_conditions_of_a_network_and_its_limit(time, limit):
    async def main(network):
        near = network.open_socket(
            ("10.0.0.1", 1), receive_buffer_size=Index(10_000)
        )
        far = network.open_socket(
            ("10.0.0.2", 1), send_buffer_size=Index(10_000)
        )
        async with near, far:
            await far.send(b"x", near.local_address)
            assert (await near.receive())[0] == b"x"

    conditions = NetworkConditions(
        delay=time,
        jitter=Index(0),
        loss=Fraction(0),
        duplication=Decimal(0),
        congestion=Index(0),
        rate=Decimal(100_000),
        gso_refusal=Index(0),
        mtu=Index(1500),
    )
    simulate(
        main,
        seed=1,
        conditions=conditions,
        time_limit=limit,
    )


async def test_the_queue_of_a_pair_in_memory():
    near, far = memory_datagram_pair(max_queued=Index(1))
    async with near, far:
        await near.send(b"x")
        assert (await far.receive())[0] == b"x"
