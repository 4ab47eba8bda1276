"""examples/tcp_proxy.py: two of them, one behind the other, and an echo."""

from __future__ import annotations

import contextlib
import socket

import pytest
from programs import started

from triobatch import ProxyHeader


@contextlib.contextmanager
def listening(name, *arguments):
    with started(name, "127.0.0.1:0", *arguments) as process:
        line = process.stdout.readline()
        assert line.startswith("listening at "), process.stderr.read()
        yield process, line.split()[-1]


def connect(address):
    host, _, port = address.rpartition(":")
    return socket.create_connection((host, int(port)), timeout=60)


def receive_all(sock):
    received = b""
    while data := sock.recv(65536):
        received += data
    return received


@pytest.mark.parametrize("size", [10, 2**21])
def test_an_echo_through_two_proxies(size):
    text = b"0123456789abcdef" * (size // 16) + b"end"
    with (
        listening("echo_server.py") as (_, server),
        listening("tcp_proxy.py", server, "--proxy-in") as (inner, behind),
        listening("tcp_proxy.py", behind, "--proxy-out") as (_, front),
        connect(front) as client,
    ):
        echoed = b""
        for start in range(0, len(text), 2**16):
            piece = text[start : start + 2**16]
            client.sendall(piece)
            while len(echoed) < start + len(piece):
                echoed += client.recv(2**16)
        client.shutdown(socket.SHUT_WR)
        echoed += receive_all(client)
        said = inner.stdout.readline()
    assert echoed == text
    assert said == f"{len(text):,} bytes there, {len(text):,} back\n"


def test_the_client_is_named_to_the_server_behind():
    with (
        socket.create_server(("127.0.0.1", 0)) as server,
        listening(
            "tcp_proxy.py",
            f"127.0.0.1:{server.getsockname()[1]}",
            "--proxy-in",
            "--proxy-out",
        ) as (_, front),
        connect(front) as client,
    ):
        server.settimeout(20)
        header = ProxyHeader(("192.0.2.7", 1), ("192.0.2.8", 2))
        client.sendall(header.encode(1) + b"hello")
        client.shutdown(socket.SHUT_WR)
        behind, _ = server.accept()
        with behind:
            behind.settimeout(20)
            assert receive_all(behind) == header.encode() + b"hello"


def test_who_sends_no_header_is_refused():
    with (
        listening("echo_server.py") as (_, server),
        listening("tcp_proxy.py", server, "--proxy-in") as (proxy, front),
    ):
        with connect(front) as client:
            client.sendall(b"GET / HTTP/1.1\r\n")
            with contextlib.suppress(ConnectionResetError):
                assert receive_all(client) == b""
        assert "no PROXY protocol header" in proxy.stderr.readline()
