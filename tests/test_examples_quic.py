"""The QUIC example: its client, its server, and peers that misbehave."""

from __future__ import annotations

import importlib
import socket
import sys
import time

import pytest
from programs import EXAMPLES, run, running

configuration = pytest.importorskip("aioquic.quic.configuration")
connection = pytest.importorskip("aioquic.quic.connection")
events = pytest.importorskip("aioquic.quic.events")
trustme = pytest.importorskip("trustme")

pytestmark = pytest.mark.skipif(
    sys.platform == "win32", reason="stops servers with SIGINT"
)


@pytest.fixture(scope="module")
def certificates(tmp_path_factory):
    directory = tmp_path_factory.mktemp("certificates")
    authority = trustme.CA()
    authority.cert_pem.write_to_path(directory / "ca.pem")
    issued = authority.issue_cert("127.0.0.1")
    issued.private_key_and_cert_chain_pem.write_to_path(directory / "own.pem")
    return directory


@pytest.fixture
def server(certificates):
    """The address of a server, which has to live to the end of the test."""
    with running(
        "quic_echo.py", "--serve", "--at", "127.0.0.1:0",
        "--certificate", certificates / "own.pem",
    ) as address:  # fmt: skip
        yield address


def ask(server, certificates, *arguments):
    return run(
        "quic_echo.py", "--at", server, "--ca", certificates / "ca.pem",
        "--size", "1", *arguments,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("arguments", "said"),
    [([], "1,048,576 bytes there and back"), (["--upload"], "bytes sent")],
)
def test_both_ends_in_one_program(arguments, said):
    both = run("quic_echo.py", "--size", "1", *arguments)
    assert both.returncode == 0, both.stderr
    assert said in both.stdout
    assert both.stderr == ""


@pytest.mark.slow
def test_one_server_has_many_clients(server, certificates):
    for arguments in ([], ["--upload"], []):
        client = ask(server, certificates, *arguments)
        assert client.returncode == 0, client.stderr


def test_many_packets_leave_with_one_system_call():
    both = run("quic_echo.py", "--size", "4", "--upload")
    words = both.stdout.replace(",", "").split()
    datagrams = int(words[words.index("datagrams") - 1])
    calls = int(words[words.index("system") - 1])
    assert datagrams > 4 * calls


def test_a_client_that_trusts_another_says_so(server, tmp_path):
    trustme.CA().cert_pem.write_to_path(tmp_path / "ca.pem")
    client = ask(server, tmp_path)
    assert client.returncode == 1
    assert "unable to get local issuer certificate" in client.stderr
    assert "Traceback" not in client.stderr


def test_no_server_is_a_message_and_status_1(certificates):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as silent:
        silent.bind(("127.0.0.1", 0))
        address = "{}:{}".format(*silent.getsockname())
        client = ask(address, certificates)
    assert client.returncode == 1
    assert client.stderr == f"{address}: Idle timeout\n"


@pytest.fixture
def attacker(server):
    host, _, port = server.rpartition(":")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as peer:
        peer.settimeout(30)
        peer.connect((host, int(port)))
        yield peer


def test_another_version_is_told_which_there_are(attacker):
    names = b"\x08" + b"d" * 8 + b"\x08" + b"s" * 8
    attacker.send((b"\xc0\x1a\x2a\x3a\x4a" + names).ljust(1200, b"\0"))
    answer = attacker.recv(2000)
    # RFC 8999, section 6: version 0, the names exchanged, the versions.
    assert answer[1:5] == bytes(4)
    assert answer[5:23] == b"\x08" + b"s" * 8 + b"\x08" + b"d" * 8
    assert b"\0\0\0\x01" in answer[23:]


def test_a_version_negotiation_is_not_answered(attacker, server, certificates):
    """Two servers would go on for ever."""
    names = b"\x08" + b"d" * 8 + b"\x08" + b"s" * 8
    attacker.send((b"\xc0\0\0\0\0" + names + bytes(4)).ljust(1200, b"\0"))
    assert ask(server, certificates).returncode == 0
    attacker.setblocking(False)
    with pytest.raises(BlockingIOError):
        attacker.recv(2000)


def test_a_server_outlives_what_is_no_quic(attacker, server, certificates):
    initial = b"\xc0\0\0\0\x01\x08" + b"d" * 8 + b"\x08" + b"s" * 8
    for datagram in (b"", b"\0", b"\xff" * 1500, initial, initial * 80):
        attacker.send(datagram)
    assert ask(server, certificates).returncode == 0


class Peer:
    """A client that does as it likes, without the example's care."""

    def __init__(self, server, certificates):
        trusting = configuration.QuicConfiguration(
            is_client=True, alpn_protocols=["echo"], server_name="127.0.0.1"
        )
        trusting.load_verify_locations(str(certificates / "ca.pem"))
        host, _, port = server.rpartition(":")
        self.address = (host, int(port))
        self.quic = connection.QuicConnection(configuration=trusting)
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.connect(self.address)
        self.socket.settimeout(0.2)
        self.quic.connect(self.address, now=time.monotonic())
        self.turn(3)

    def turn(self, count=1):
        for _ in range(count):
            for data, _ in self.quic.datagrams_to_send(time.monotonic()):
                self.socket.send(data)
            try:
                while True:
                    self.quic.receive_datagram(
                        self.socket.recv(2000),
                        self.address,
                        now=time.monotonic(),
                    )
            except TimeoutError:
                continue


def test_a_server_outlives_streams_that_want_no_answer(server, certificates):
    peer = Peer(server, certificates)
    with peer.socket:
        one_way = peer.quic.get_next_available_stream_id(True)
        peer.quic.send_stream_data(one_way, b"nobody answers", True)
        stopped = peer.quic.get_next_available_stream_id()
        peer.quic.send_stream_data(stopped, b"begin")
        peer.turn()
        peer.quic.stop_stream(stopped, 0)
        peer.turn()
        peer.quic.send_stream_data(stopped, b"end", True)
        peer.turn()
        # Still served, on the same connection.
        last = peer.quic.get_next_available_stream_id()
        peer.quic.send_stream_data(last, b"hello", True)
        peer.turn()
        got = {}
        while event := peer.quic.next_event():
            data = getattr(event, "data", b"")
            stream = getattr(event, "stream_id", None)
            got[stream] = got.get(stream, b"") + data
        assert got[last] == b"hello"
    assert ask(server, certificates).returncode == 0


def test_a_peer_without_a_trace_is_forgotten(monkeypatch):
    """Its identifiers go with the connection."""
    monkeypatch.syspath_prepend(EXAMPLES)
    driver = importlib.import_module("quic_endpoint")

    class Quic:
        host_cid = b"own"

    endpoint = driver.Endpoint(None, driver.Connection)
    peer = endpoint._add(Quic(), b"asked")
    peer.note(events.ConnectionIdIssued(connection_id=b"new"))
    peer.note(events.ConnectionIdRetired(connection_id=b"own"))
    assert set(endpoint.connections) == {b"asked", b"new"}
    peer.note(
        events.ConnectionTerminated(
            error_code=0, frame_type=None, reason_phrase=""
        )
    )
    assert endpoint.connections == {}
