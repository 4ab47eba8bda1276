"""The examples for datagrams, run as a person runs them."""

from __future__ import annotations

import os
import re
import signal
import socket
import sys

import pytest
from programs import run, started

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="uses SIGINT")

REPORT = re.compile(
    r"datagrams of 1,200 bytes: ([\d,]+) sent, ([\d,]+) lost, "
    r"([\d.]+) system calls each, [\d,]+ echoes a second\n"
)


@pytest.fixture
def silent():
    """A bound socket that never answers."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind(("127.0.0.1", 0))
        yield sock


def host_and_port(sock):
    return "{}:{}".format(*sock.getsockname())


def check_client(client, address, count):
    assert client.returncode == 0, client.stderr
    first, report = client.stdout.splitlines(keepends=True)
    if address is not None:
        assert first == f"sending to {address}\n"
    sent, lost, calls = REPORT.fullmatch(report).groups()
    assert (sent, lost) == (f"{count:,}", "0")
    return float(calls)


def test_ten_greetings_are_one_datagram_or_ten():
    greetings = "".join(f"hello world: {i}\n" for i in range(10))
    result = run("hello_batch.py")
    assert result.stderr == ""
    assert result.stdout == (
        f"from Buffers: 1 datagram\n{greetings}"
        f"from send_many: 10 datagrams\n{greetings}"
        "system calls to send them all: 2\n"
    )


@pytest.mark.parametrize("count", [1, 65, 2000])
def test_the_client_alone_starts_its_own_server(count):
    client = run("udp_echo_client.py", "--count", count)
    calls = check_client(client, None, count)
    assert client.stderr == ""
    if count == 2000 and os.environ.get("TRIOBATCH_CORE") != "python":
        assert calls < 0.5


def test_client_and_server_talk_and_ctrl_c_stops_the_server():
    with started("udp_echo_server.py", "127.0.0.1:0") as server:
        address = server.stdout.readline().removeprefix("listening at ")
        client = run("udp_echo_client.py", address.strip(), "--count", 300)
        check_client(client, address.strip(), 300)
        assert client.stderr == ""
        server.send_signal(signal.SIGINT)
        output, errors = server.communicate()
    assert (errors, server.returncode) == ("", 0)
    assert output.startswith("echoed 300 of 300 datagrams: received with ")


def test_a_closed_port_is_a_message_and_status_1(silent):
    address = host_and_port(silent)
    silent.close()
    client = run("udp_echo_client.py", address)
    assert client.returncode == 1
    assert client.stdout == f"sending to {address}\n"
    assert client.stderr == (
        f"no answer from {address} "
        "(the port is closed, or the host out of reach)\n"
    )


def test_a_silent_server_is_a_message_and_status_1(silent):
    address = host_and_port(silent)
    client = run("udp_echo_client.py", address)
    assert client.returncode == 1
    assert client.stdout == f"sending to {address}\n"
    # After a second, a line about the progress comes first.
    assert client.stderr.endswith(
        f"no answer from {address} (is a server running?)\n"
    )


def test_what_does_not_come_back_is_lost():
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
        server.bind(("127.0.0.1", 0))
        arguments = host_and_port(server), "--count", 10
        with started("udp_echo_client.py", *arguments) as client:
            for i in range(10):
                payload, peer = server.recvfrom(2000)
                if i != 3:
                    server.sendto(payload, peer)
                    # Neither a second copy nor something else counts.
                    server.sendto(payload, peer)
                    server.sendto(b"else", peer)
            output, errors = client.communicate()
    assert (client.returncode, errors) == (0, "")
    assert "10 sent, 1 lost" in output


def test_a_long_run_shows_its_progress_and_can_be_interrupted():
    with started("udp_echo_client.py", "--count", 10**9) as client:
        assert client.stdout.readline().startswith("sending to ")
        progress = client.stderr.readline()
        client.send_signal(signal.SIGINT)
        output, errors = client.communicate()
    assert re.fullmatch(
        r"[\d,]+ of 1,000,000,000 sent, [\d,]+ lost\n", progress
    )
    assert REPORT.fullmatch(output)
    assert errors.endswith("interrupted\n")
    assert client.returncode == 130


def test_an_address_in_use_is_a_message_and_status_1(silent):
    address = host_and_port(silent)
    server = run("udp_echo_server.py", address)
    assert (server.returncode, server.stdout) == (1, "")
    assert server.stderr.startswith(f"cannot listen at {address}: ")
    assert server.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("name", "arguments", "message"),
    [
        ("udp_echo_server.py", ["9000"], "'9000' is not host:port"),
        ("udp_echo_client.py", ["host:65536"], "'host:65536' is not"),
        ("udp_echo_client.py", ["..:9"], "'..:9' is not host:port"),
        ("udp_echo_server.py", ["x" * 64 + ":9"], "x:9' is not host:port"),
        ("udp_echo_client.py", ["--count", "0"], "'0' is no number from 1 on"),
    ],
)
def test_a_malformed_argument_is_a_usage_error(name, arguments, message):
    result = run(name, *arguments)
    assert result.returncode == 2
    assert message in result.stderr


def test_a_host_that_does_not_exist_is_a_message_and_status_1():
    client = run("udp_echo_client.py", "no-such-host.invalid:9000")
    assert (client.returncode, client.stdout) == (1, "")
    assert client.stderr.startswith(
        "cannot send to no-such-host.invalid:9000: "
    )
    assert client.stderr.count("\n") == 1
