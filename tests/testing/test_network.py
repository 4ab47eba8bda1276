"""The network as its users see it."""

from __future__ import annotations

import errno

import pytest
import trio
from needs import needs_metadata
from trio.testing import wait_all_tasks_blocked

from triobatch import DatagramError, Metadata
from triobatch.testing import (
    NetworkConditions,
    SimulatedDatagramSocket,
    open_simulated_network,
    simulate,
)

A, B = ("10.0.0.1", 1), ("10.0.0.2", 2)


async def test_hosts_talk_with_one_another():
    async with open_simulated_network(0) as network:
        one, other = network.open_socket(A), network.open_socket(B)
        assert isinstance(one, SimulatedDatagramSocket)
        await one.send(b"x", B)
        assert await other.receive() == (b"x", A)
        assert (one.local_address, one.remote_address) == (A, None)
        assert repr(one) == "<SimulatedDatagramSocket: 10.0.0.1:1>"
        assert repr(network) == "<SimulatedNetwork: seed 0, 2 sockets>"


@needs_metadata
async def test_ipv6_works_too():
    async with open_simulated_network(0) as network:
        one = network.open_socket(("fd00::1", 1))
        other = network.open_socket(
            ("fd00::2", 2), remote_address=("fd00::1", 1)
        )
        await other.send(b"x", metadata=Metadata(tos=1))
        (message,) = await one.receive_messages(fields={"tos"})
        assert message[:2] == (b"x", ("fd00::2", 2, 0, 0))
        assert message.metadata == Metadata(tos=1)
        await other.send(b"y")
        (message,) = await one.receive_messages()
        assert message.metadata == Metadata(0, 64, "fd00::1", 1)


async def test_a_host_chooses_a_port_that_is_free():
    async with open_simulated_network(0) as network:
        ports = {
            network.open_socket(("10.0.0.1", 0)).local_address[1]
            for _ in range(3)
        }
    assert len(ports) == 3
    assert 0 not in ports


async def test_an_address_is_used_once_at_a_time():
    async with open_simulated_network(0) as network:
        one = network.open_socket(A)
        with pytest.raises(OSError, match="in use") as caught:
            network.open_socket(A)
        assert caught.value.errno == errno.EADDRINUSE
        await one.aclose()
        network.open_socket(A)


@pytest.mark.parametrize(
    ("wrong", "error"),
    [
        (("0.0.0.0", 1), ValueError),
        (("::", 1), ValueError),
        (("name", 1), ValueError),
        ("/path", TypeError),
        (None, TypeError),
        (("10.0.0.1", 65536), ValueError),
    ],
)
async def test_an_address_is_one_of_a_single_host(wrong, error):
    async with open_simulated_network(0) as network:
        with pytest.raises(error):
            network.open_socket(wrong)


async def test_a_peer_is_of_the_same_family():
    async with open_simulated_network(0) as network:
        with pytest.raises(ValueError, match="of the family"):
            network.open_socket(A, remote_address=("fd00::1", 1))


@pytest.mark.parametrize("name", ["send_buffer_size", "receive_buffer_size"])
async def test_a_buffer_has_room(name):
    async with open_simulated_network(0) as network:
        with pytest.raises(ValueError, match=f"^{name} must be"):
            network.open_socket(A, **{name: 0})
        # Nothing was opened.
        network.open_socket(A)


async def test_the_end_of_the_network_closes_all_sockets():
    async def wait(sock):
        with pytest.raises(trio.ClosedResourceError):
            await sock.receive()

    async with (
        trio.open_nursery() as nursery,
        open_simulated_network(0) as network,
    ):
        sock = network.open_socket(A)
        nursery.start_soon(wait, sock)
        await wait_all_tasks_blocked()
    with pytest.raises(trio.ClosedResourceError):
        sock.send_nowait(b"x", B)
    await sock.aclose()
    assert repr(sock) == "<SimulatedDatagramSocket: closed>"


async def test_an_error_comes_out_with_what_it_came_from():
    error, cause, context = KeyError(1), ValueError(2), TypeError(3)
    error.__context__, error.__cause__ = context, cause
    with pytest.raises(KeyError) as caught:
        async with open_simulated_network(0):
            raise error
    assert caught.value is error
    assert error.__cause__ is cause
    assert error.__context__ is context


def arrivals(network, a, b):
    """Return whether datagrams arrive from A to B, and from B to A."""
    a.send_nowait(b"x", B)
    b.send_nowait(b"x", A)
    there = []
    for sock in (b, a):
        try:
            sock.receive_nowait()
        except trio.WouldBlock:
            there.append(False)
        else:
            there.append(True)
    return there


async def test_what_is_set_for_both_hosts_holds_first():
    lost, none = NetworkConditions(loss=1), NetworkConditions()
    async with open_simulated_network(0) as network:
        pair = network.open_socket(A), network.open_socket(B)
        assert arrivals(network, *pair) == [True, True]
        network.set_conditions(lost)
        assert arrivals(network, *pair) == [False, False]
        network.set_conditions(none, target=B[0])
        assert arrivals(network, *pair) == [True, False]
        network.set_conditions(lost, source=A[0])
        assert arrivals(network, *pair) == [False, False]
        network.set_conditions(none, source=A[0], target=B[0])
        assert arrivals(network, *pair) == [True, False]
        network.set_conditions(none)
        assert arrivals(network, *pair) == [True, True]


async def test_a_change_leaves_the_rest():
    async with open_simulated_network(
        0, conditions=NetworkConditions(duplication=1)
    ) as network:
        network.change_conditions(source=A[0], loss=1)
        network.change_conditions(source=A[0], loss=0)
        a, b = network.open_socket(A), network.open_socket(B)
        await a.send(b"x", B)
        assert len(await b.receive_batch()) == 2
        with pytest.raises(TypeError):
            network.change_conditions(colour=1)
        with pytest.raises(ValueError, match="loss"):
            network.change_conditions(loss=2)
        with pytest.raises(ValueError, match="numeric"):
            network.change_conditions(source="host", loss=1)


async def main(network, count):
    """Send much both ways; return what is known in the end."""
    a, b = network.open_socket(A), network.open_socket(B)
    log = []

    async def receive(sock):
        async for batch in sock.batches():
            log.extend(batch)
            if network.random.random() < 0.3:
                await sock.send_batch([(batch[0][0] + b"!", batch[0][1])])

    async with trio.open_nursery() as nursery:
        nursery.start_soon(receive, a)
        nursery.start_soon(receive, b)
        for number in range(count):
            await a.send_many([b"%d" % number] * 3, B)
            await trio.sleep(network.random.random())
        await trio.sleep(60)
        nursery.cancel_scope.cancel()
    return log, network.history(), network.statistics()


ROUGH = NetworkConditions(
    delay=0.1, jitter=0.1, loss=0.1, duplication=0.1, congestion=0.1
)


def test_a_seed_is_a_history():
    first, again, other = (
        simulate(main, 100, seed=seed, conditions=ROUGH) for seed in (1, 1, 2)
    )
    assert first == again
    assert first[1] != other[1]


@pytest.mark.parametrize("seed", range(10))
def test_every_datagram_is_accounted_for(seed):
    log, _, counts = simulate(main, 100, seed=seed, conditions=ROUGH)
    assert counts.in_flight == counts.dropped == counts.unreachable == 0
    assert counts.sent + counts.duplicated == counts.lost + counts.delivered
    assert counts.delivered == len(log)
    assert counts.lost
    assert counts.duplicated


async def test_the_history_says_what_has_happened():
    async with open_simulated_network(0) as network:
        one = network.open_socket(("fd00::1", 1))
        await one.send(b"abc", ("fd00::2", 2))
        lines = [line.split(maxsplit=1)[1] for line in network.history()]
    assert lines == [
        "[fd00::1]:1 > [fd00::2]:2 3 sent",
        "[fd00::1]:1 > [fd00::2]:2 3 unreachable",
        f"[fd00::2]:2 > [fd00::1]:1 {errno.EHOSTUNREACH} reported",
    ]


async def test_it_works_on_a_real_clock_too():
    async with open_simulated_network(
        0, conditions=NetworkConditions(delay=0.02)
    ) as network:
        a, b = network.open_socket(A), network.open_socket(B)
        start = trio.current_time()
        await a.send(b"x", B)
        with pytest.raises(trio.WouldBlock):
            b.receive_nowait()
        assert await b.receive() == (b"x", A)
        assert trio.current_time() - start >= 0.02


async def test_a_datagram_to_nowhere_is_refused():
    async with open_simulated_network(0) as network:
        one = network.open_socket(A)
        with pytest.raises(DatagramError) as caught:
            await one.send(b"x")
        assert caught.value.errno == errno.EDESTADDRREQ
