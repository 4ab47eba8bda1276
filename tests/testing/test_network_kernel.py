"""The simulated kernels, and that they answer as Linux does."""

from __future__ import annotations

import errno
import socket

import pytest
import trio
from needs import needs_addresses_where_connected, needs_error_queue

from triobatch import DatagramError, open_udp_socket
from triobatch.testing import (
    NetworkConditions,
    open_simulated_network,
    simulate,
)

A, B = ("10.0.0.1", 1), ("10.0.0.2", 2)


@needs_addresses_where_connected
@pytest.mark.parametrize(
    ("data", "address", "connected"),
    [
        (b"x", None, False),
        (b"x", ("127.0.0.1", 0), False),
        (b"x", ("::1", 9), False),
        (bytes(65507), ("127.0.0.1", 9), False),
        (bytes(65508), ("127.0.0.1", 9), False),
        (b"x", ("127.0.0.1", 9), True),
        (b"", None, True),
    ],
)
async def test_linux_refuses_the_same(data, address, connected, make_socket):
    async with open_simulated_network(0) as network:
        here = ("127.0.0.1", 1)
        simulated = network.open_socket(
            here, remote_address=("127.0.0.1", 99) if connected else None
        )
        real = await make_socket()
        if connected:
            await real.socket.connect(("127.0.0.1", 99))
        errnos = []
        for sock in (real, simulated):
            try:
                await sock.send(data, address)
            except DatagramError as error:
                errnos.append(error.errno)
            else:
                errnos.append(0)
    assert errnos[0] == errnos[1]


async def test_a_closed_port_is_reported_to_who_is_connected():
    async with open_simulated_network(0) as network:
        network.open_socket(("10.0.0.2", 9))
        one = network.open_socket(A, remote_address=B)
        for _ in range(3):
            await one.send(b"x")
        with pytest.raises(trio.WouldBlock):
            one.receive_nowait()
        assert one.statistics().reports == 3
        counts = network.statistics()
        assert (counts.unreachable, counts.reports) == (3, 3)


@needs_error_queue
async def test_a_report_is_as_on_linux():
    """Beside a real one: a closed port of this host."""
    free = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    free.bind(("127.0.0.1", 0))
    target = free.getsockname()
    free.close()
    reports = []
    async with open_simulated_network(0) as network:
        network.open_socket(("127.0.0.1", 1))
        sockets = [
            await open_udp_socket(
                local_address=("127.0.0.1", 0), error_queue=True
            ),
            network.open_socket(("127.0.0.1", 0), error_queue=True),
        ]
        for sock in sockets:
            async with sock:
                await sock.send(b"quoted", target)
                with trio.fail_after(60):
                    reports += await sock.receive_errors()
    assert reports[0] == reports[1]


@pytest.mark.parametrize(
    ("there", "code", "number"),
    [(True, 3, errno.ECONNREFUSED), (False, 1, errno.EHOSTUNREACH)],
)
def test_an_error_queue_tells_what_did_not_arrive(there, code, number):
    async def main(network):
        if there:
            network.open_socket(("10.0.0.2", 9))
        one = network.open_socket(A, error_queue=True)
        await one.send(b"abc", B)
        (report,) = await one.receive_errors()
        assert trio.current_time() == pytest.approx(0.2)
        return report

    report = simulate(main, conditions=NetworkConditions(delay=0.1))
    assert (report.address, report.errno) == (B, number)
    assert (report.type, report.code, report.payload) == (3, code, b"abc")
    assert report.offender == (B if there else A)[0]


async def test_nothing_is_reported_where_that_is_off():
    conditions = NetworkConditions(reports=False)
    async with open_simulated_network(0, conditions=conditions) as network:
        one = network.open_socket(A, error_queue=True)
        await one.send(b"x", B)
        with pytest.raises(trio.WouldBlock):
            one.receive_errors_nowait()


async def test_who_is_not_connected_and_has_no_queue_hears_nothing():
    async with open_simulated_network(0) as network:
        one = network.open_socket(A)
        await one.send(b"x", B)
        await one.send(b"x", B)
        assert one.statistics().reports == 0


async def test_a_connected_socket_hears_only_its_peer():
    async with open_simulated_network(0) as network:
        a = network.open_socket(A)
        b = network.open_socket(B, remote_address=("10.0.0.3", 3))
        c = network.open_socket(("10.0.0.3", 3))
        await a.send(b"a", B)
        await c.send(b"c", B)
        assert await b.receive() == (b"c", ("10.0.0.3", 3))
        assert network.statistics().unreachable == 1


@pytest.mark.parametrize("seconds", [599, 601])
def test_a_path_mtu_is_learned_and_forgotten(seconds):
    async def main(network):
        a = network.open_socket(A, error_queue=True)
        b = network.open_socket(B)
        await a.send(bytes(1173), B)
        (report,) = await a.receive_errors()
        assert (report.errno, report.mtu) == (errno.EMSGSIZE, 1200)
        with pytest.raises(trio.WouldBlock):
            b.receive_nowait()
        # In fragments, or small enough.
        for size in (1173, 1172):
            await a.send(bytes(size), B)
            assert await b.receive() == (bytes(size), A)
        await trio.sleep(seconds)
        await a.send(bytes(1173), B)
        await trio.sleep(1)
        return network.statistics().too_large

    expected = 1 if seconds < 600 else 2
    assert simulate(main, conditions=NetworkConditions(mtu=1200)) == expected


async def test_what_no_interface_takes_goes_in_fragments_at_once():
    conditions = NetworkConditions(mtu=1200)
    async with open_simulated_network(0, conditions=conditions) as network:
        a, b = network.open_socket(A), network.open_socket(B)
        await a.send(bytes(1473), B)
        assert await b.receive() == (bytes(1473), A)


def test_a_datagram_in_fragments_is_lost_with_one_of_them():
    async def main(network, size):
        a, b = network.open_socket(A), network.open_socket(B)
        for _ in range(500):
            await a.send(bytes(size), B)
            with trio.move_on_after(1):
                await b.receive()
        return network.statistics().lost

    conditions = NetworkConditions(loss=0.1)
    whole, cut = (
        simulate(main, size, seed=1, conditions=conditions)
        for size in (1000, 14000)
    )
    assert 30 < whole < 70
    # 1 - 0.9 ** 10 of them.
    assert 290 < cut < 360


async def test_runs_are_refused_and_go_one_by_one():
    conditions = NetworkConditions(gso_refusal=errno.EIO)
    async with open_simulated_network(0, conditions=conditions) as network:
        a, b = network.open_socket(A), network.open_socket(B)
        assert await a.send_many([b"ab"] * 10, B) == 10
        assert await a.send_segments(b"abcdef", 2, B) == 3
        assert a.statistics().gso_refusals == {"EIO": 1}
        assert a.statistics().gso_runs == 0
        received = [data for data, _ in await b.receive_batch()]
        assert received == [b"ab"] * 10 + [b"ab", b"cd", b"ef"]


def test_segmentation_rests_in_simulated_time():
    async def main(network):
        a = network.open_socket(A)
        refusals = []
        for seconds in (0, 59, 2):
            await trio.sleep(seconds)
            await a.send_many([b"ab"] * 10, B)
            refusals.append(a.statistics().gso_refusals["EIO"])
        return refusals

    conditions = NetworkConditions(gso_refusal=errno.EIO)
    assert simulate(main, conditions=conditions) == [1, 1, 2]


async def test_a_segment_that_does_not_fit_is_no_run():
    async with open_simulated_network(0) as network:
        a, b = network.open_socket(A), network.open_socket(B)
        assert await a.send_many([bytes(1473)] * 3, B) == 3
        assert a.statistics().gso_refusals == {"EMSGSIZE": 1}
        assert await a.send_many([bytes(1472)] * 3, B) == 3
        assert a.statistics().gso_runs == 1
        assert len(await b.receive_batch()) == 6


def test_congestion_passes_or_refuses():
    async def main(network):
        a, b = network.open_socket(A), network.open_socket(B)
        for number in range(60):
            await a.send(b"%d" % number, B)
        assert len(await b.receive_batch()) == 60
        network.change_conditions(congestion=1)
        with pytest.raises(DatagramError) as caught:
            await a.send(b"x", B)
        return caught.value.errno

    conditions = NetworkConditions(congestion=0.2)
    assert simulate(main, seed=1, conditions=conditions) == errno.ENOBUFS


def test_what_is_on_its_way_finds_whoever_is_there_then():
    async def main(network):
        a, b = network.open_socket(A, remote_address=B), None
        await a.send(b"early")
        await trio.sleep(1)
        b = network.open_socket(B)
        assert await b.receive() == (b"early", A)
        await a.send(b"late")
        await b.aclose()
        await trio.sleep(5)
        counts = network.statistics()
        return counts.delivered, counts.unreachable, a.statistics().reports

    conditions = NetworkConditions(delay=2)
    assert simulate(main, conditions=conditions) == (1, 1, 0)


@pytest.mark.parametrize(("jitter", "moved"), [(0, False), (0.5, True)])
def test_jitter_lets_datagrams_pass_each_other(jitter, moved):
    async def main(network):
        a, b = network.open_socket(A), network.open_socket(B)
        received = []
        for number in range(50):
            await a.send(b"%d" % number, B)
            await trio.sleep(0.1)
        while len(received) < 50:
            received += [int(data) for data, _ in await b.receive_batch()]
        assert sorted(received) == [*range(50)]
        return received

    received = simulate(
        main, seed=1, conditions=NetworkConditions(delay=1, jitter=jitter)
    )
    assert (received != sorted(received)) is moved
