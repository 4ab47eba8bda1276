"""examples/udp_relay.py, run as a person runs it."""

from __future__ import annotations

import re
import signal
import socket
import sys
import time
from contextlib import contextmanager

import pytest
from programs import run, started
from receive_buffer import needs_room

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="uses SIGINT")

REPORT = re.compile(
    r"([\d,]+) clients: ([\d,]+) datagrams there, ([\d,]+) back, "
    r"([\d,]+) dropped\n"
)


@contextmanager
def listening(name, *arguments):
    with started(name, "127.0.0.1:0", *arguments) as process:
        line = process.stdout.readline()
        assert line.startswith("listening at "), process.stderr.read()
        yield process, line.split()[-1]


def stop(process):
    """End it with Ctrl-C; return what it counted."""
    process.send_signal(signal.SIGINT)
    output, errors = process.communicate()
    assert (errors, process.returncode) == ("", 0)
    return [
        int(number.replace(",", ""))
        for number in REPORT.fullmatch(output).groups()
    ]


def udp(timeout=60):
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.bind(("127.0.0.1", 0))
    sock.settimeout(timeout)
    return sock


def is_taken(sock, address):
    try:
        sock.bind(address)
    except OSError:
        return True
    return False


def at(text):
    host, _, port = text.rpartition(":")
    return host, int(port)


@needs_room
def test_an_echo_through_the_relay():
    with (
        listening("udp_echo_server.py") as (_, server),
        listening("udp_relay.py", server) as (relay, front),
    ):
        client = run("udp_echo_client.py", front, "--count", 2000)
        assert client.returncode == 0, client.stderr
        assert "2,000 sent, 0 lost" in client.stdout
        clients, there, back, dropped = stop(relay)
    assert clients == 1
    assert there == back >= 2000
    assert dropped == 0


def test_each_client_gets_its_own_answers():
    with (
        udp() as server,
        listening("udp_relay.py", f"127.0.0.1:{server.getsockname()[1]}") as (
            relay,
            front,
        ),
        udp() as one,
        udp() as other,
    ):
        peers = {}
        for client, payload in (
            (one, b"one"),
            (other, b"other"),
            (one, b""),
            (other, b"x" * 9000),
        ):
            client.sendto(payload, at(front))
            data, peer = server.recvfrom(65536)
            assert data == payload
            # The server tells them apart, too.
            assert peers.setdefault(client, peer) == peer
        assert len(set(peers.values())) == 2
        for _ in range(3):
            for peer in peers.values():
                server.sendto(b"to %d" % peer[1], peer)
        for client, peer in peers.items():
            for _ in range(3):
                assert client.recvfrom(99) == (b"to %d" % peer[1], at(front))
        assert stop(relay) == [2, 4, 6, 0]


def test_a_silent_client_is_forgotten_and_served_anew():
    with (
        udp() as server,
        listening(
            "udp_relay.py",
            f"127.0.0.1:{server.getsockname()[1]}",
            "--idle",
            "1",
        ) as (relay, front),
        udp() as client,
    ):
        client.sendto(b"a", at(front))
        _, first = server.recvfrom(99)
        # Then its port is free.
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as prober:
            while is_taken(prober, first):
                time.sleep(0.05)
        client.sendto(b"b", at(front))
        data, second = server.recvfrom(99)
        assert data == b"b"
        server.sendto(b"c", second)
        assert client.recvfrom(99) == (b"c", at(front))
        clients, there, *_ = stop(relay)
    assert (clients, there) == (2, 2)


def test_a_server_that_is_not_there_ends_nothing():
    with udp() as closed:
        nowhere = f"127.0.0.1:{closed.getsockname()[1]}"
    with (
        listening("udp_relay.py", nowhere) as (relay, front),
        udp(0.1) as client,
    ):
        for _ in range(3):
            client.sendto(b"x", at(front))
            with pytest.raises(TimeoutError):
                client.recv(99)
        assert relay.poll() is None
        clients, there, back, _ = stop(relay)
    assert (clients, there, back) == (1, 3, 0)


def test_an_address_in_use_is_a_message_and_status_1():
    with udp() as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        relay = run("udp_relay.py", address, address)
    assert (relay.returncode, relay.stdout) == (1, "")
    assert relay.stderr.startswith(f"cannot listen at {address}: ")


@pytest.mark.parametrize(
    "arguments",
    [["9000", "127.0.0.1:1"], ["127.0.0.1:1"], ["h:1", "h:2", "--idle", "0"]],
)
def test_wrong_arguments_are_status_2(arguments):
    relay = run("udp_relay.py", *arguments)
    assert relay.returncode == 2
    assert "usage:" in relay.stderr
