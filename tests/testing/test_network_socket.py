"""A simulated socket: what it alone does, and what a server finds in it.

What it has in common with the others is in
``tests/datagrams/test_abstract_socket.py``.
"""

from __future__ import annotations

import errno

import pytest
import trio
from needs import needs_metadata
from trio.testing import assert_checkpoints, wait_all_tasks_blocked

import triobatch
from triobatch import DatagramError, Metadata
from triobatch._wire.addresses import encode_address
from triobatch.testing import (
    NetworkConditions,
    _network,
    open_simulated_network,
    simulate,
)

A, B = ("10.0.0.1", 1), ("10.0.0.2", 2)


async def test_trains_come_and_go_as_on_linux():
    async with open_simulated_network(0) as network:
        a, b = network.open_socket(A), network.open_socket(B)
        await a.send_segments(bytes(10 * 1000 + 7), 1000, B)
        async with b.receive_runs() as runs:
            assert [(len(run.data), run.segment_size) for run in runs] == [
                (10007, 1000)
            ]
        await a.send_many([b"ab"] * 3 + [b"c", b"defg"], B)
        received = await b.receive_batch()
        assert [data for data, _ in received] == [
            *[b"ab"] * 3,
            b"c",
            b"defg",
        ]
        assert a.statistics().gso_runs == 2
        # One call for the train, and one for what is behind it.
        assert b.statistics().receive_calls <= 3


@needs_metadata
async def test_metadata_come_when_they_were_asked_for():
    async with open_simulated_network(0) as network:
        a, b = network.open_socket(A), network.open_socket(B)
        await a.send(b"x", B, metadata=Metadata(tos=3))
        (message,) = await b.receive_messages(fields={"ttl"})
        assert message.metadata == Metadata(ttl=64)
        await a.send(b"x", B, metadata=Metadata(tos=3, ttl=9))
        (message,) = await b.receive_messages()
        assert message.metadata == Metadata(3, 9, B[0], 1)
        for own in (A[0], "0.0.0.0"):
            await a.send(b"x", B, metadata=Metadata(local_address=own))
        with pytest.raises(DatagramError) as caught:
            await a.send(b"x", B, metadata=Metadata(local_address="10.0.0.9"))
        assert caught.value.errno == errno.EINVAL


@needs_metadata
def test_the_timestamp_is_the_time_of_arrival():
    async def main(network):
        a, b = network.open_socket(A), network.open_socket(B)
        with pytest.raises(trio.WouldBlock):
            b.receive_messages_nowait()
        await a.send(b"x", B)
        await trio.sleep(100)
        (message,) = await b.receive_messages()
        return message

    message = simulate(main, conditions=NetworkConditions(delay=2.5))
    assert message.timestamp == 2_500_000_000
    assert message.metadata == Metadata(0, 64, B[0], 1)


async def test_closing_wakes_whoever_waits():
    conditions = NetworkConditions(rate=1)
    async with open_simulated_network(0, conditions=conditions) as network:
        sock = network.open_socket(A, send_buffer_size=1, error_queue=True)
        await sock.send(b"x", B)
        woken = []

        async def wait(call, *args):
            with pytest.raises(trio.ClosedResourceError):
                await call(*args)
            woken.append(call.__name__)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(wait, sock.receive)
            nursery.start_soon(wait, sock.send, b"x", B)
            nursery.start_soon(wait, sock.receive_errors)
            await wait_all_tasks_blocked()
            with assert_checkpoints():
                await sock.aclose()
    assert sorted(woken) == ["receive", "receive_errors", "send"]


def test_a_batch_sender_waits_for_a_slow_path():
    async def main(network):
        a, b = network.open_socket(A, send_buffer_size=5000), None
        b = network.open_socket(B)
        async with triobatch.open_batch_sender(a) as sender:
            for number in range(50):
                await sender.send(b"%4d" % number + bytes(968), B)
        received = []
        with trio.move_on_after(60):
            while True:
                received += await b.receive_batch()
        return [int(data[:4]) for data, _ in received]

    # 1000 bytes a second with headers: the last one leaves after 50 s.
    assert simulate(main, conditions=NetworkConditions(rate=1000)) == [
        *range(50)
    ]


@pytest.mark.slow
@pytest.mark.parametrize("seed", [5, 6])
def test_a_thousand_hours_of_a_server(seed):
    """An outage at night, small buffers, and clients that come back."""

    async def main(network):
        server = network.open_socket(A, receive_buffer_size=20_000)

        async def echo(datagrams, sender):
            await sender.send_batch(datagrams)

        async def client(number):
            sock = network.open_socket((f"10.0.1.{number}", 7))
            while True:
                await trio.sleep(8 * 3600 * network.random.random())
                answered = 0
                while not answered:
                    await sock.send_many([b"%d" % number] * 5, A)
                    with trio.move_on_after(2):
                        answered = len(await sock.receive_batch())
                # The rest may come, or be lost.
                with trio.move_on_after(2):
                    while True:
                        await sock.receive_batch()
                answers[number] += 1

        async def outages():
            while True:
                await trio.sleep(24 * 3600)
                network.change_conditions(target=A[0], loss=1)
                await trio.sleep(300)
                network.change_conditions(target=A[0], loss=0.05)

        answers = dict.fromkeys(range(1, 4), 0)
        async with trio.open_nursery() as nursery:
            await nursery.start(triobatch.serve_datagrams, echo, [server])
            nursery.start_soon(outages)
            for number in answers:
                nursery.start_soon(client, number)
            await trio.sleep(1000 * 3600)
            nursery.cancel_scope.cancel()
        return answers, network.statistics()

    answers, counts = simulate(
        main,
        seed=seed,
        conditions=NetworkConditions(delay=0.03, jitter=0.01, loss=0.05),
    )
    assert min(answers.values()) > 200
    assert counts.sent + counts.duplicated == (
        counts.lost + counts.delivered + counts.in_flight
    )


async def test_waiting_for_what_is_there_is_a_checkpoint():
    async with open_simulated_network(0) as network:
        a, b = network.open_socket(A), network.open_socket(B)
        await a.send(b"x", B)
        waits = b._receive._readiness
        for wait in (
            lambda: waits.readable(again=False),
            lambda: waits.writable(b"", again=True),
            lambda: waits.room_at(b""),
            waits.flooded,
        ):
            with assert_checkpoints(), trio.fail_after(60):
                await wait()
        assert not waits.was_refused_here()
        assert await b.receive() == (b"x", A)


async def test_a_host_has_so_many_ports(monkeypatch):
    monkeypatch.setattr(_network, "_EPHEMERAL", range(5, 7))
    async with open_simulated_network(0) as network:
        ports = [network.open_socket((A[0], 0)).local_address for _ in "ab"]
        assert ports == [(A[0], 5), (A[0], 6)]
        with pytest.raises(ValueError, match="has no port left"):
            network.open_socket((A[0], 0))


async def test_a_report_to_who_has_closed_reaches_nobody(autojump_clock):
    async with open_simulated_network(
        0, conditions=NetworkConditions(delay=1)
    ) as network:
        one = network.open_socket(A, remote_address=B)
        await one.send(b"x")
        await one.aclose()
        await trio.sleep(5)
        assert network.statistics().reports == 0


async def test_a_run_of_too_many_segments_is_refused_as_by_linux():
    async with open_simulated_network(0) as network:
        one = network.open_socket(A)
        with pytest.raises(OSError, match="Invalid argument"):
            network._kernel.send_segments(
                one._send._socket.fileno(),
                bytes(65),
                1,
                65,
                encode_address(B),
                (),
            )
