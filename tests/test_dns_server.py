"""The DNS example over TCP, and as dig sees it."""

import importlib.util
import re
import socket
import struct
import subprocess
import sys

import pytest
import trio
from network import needs_command
from programs import EXAMPLES, running

import triobatch

if importlib.util.find_spec("dns") is None:
    pytest.skip("dnspython is optional", allow_module_level=True)

import dns.flags
import dns.message
import dns.query
import dns.rcode
import dns.zone

sys.path.insert(0, str(EXAMPLES))
try:
    import dns_server
    from dns_answers import Answers
finally:
    sys.path.remove(str(EXAMPLES))

pytestmark = pytest.mark.skipif(
    sys.platform == "win32", reason="stops servers with SIGINT"
)
ASKED = dns.message.make_query("www.example.org", "A")
TIMEOUT = 60


def frame(wire):
    return struct.pack("!H", len(wire)) + wire


@pytest.fixture(
    scope="module", params=[(), ("--plain",)], ids=["batches", "plain"]
)
def address(request):
    with running("dns_server.py", "127.0.0.1:0", *request.param) as address:
        host, _, port = address.rpartition(":")
        yield host, int(port)


def ask_both(address):
    """Ask over UDP and over TCP; return what both have answered."""
    host, port = address
    over_udp = dns.query.udp(ASKED, host, port=port, timeout=TIMEOUT)
    over_tcp = dns.query.tcp(ASKED, host, port=port, timeout=TIMEOUT)
    assert over_udp == over_tcp
    return over_udp


def test_one_port_has_the_zone_over_udp_and_tcp(address):
    assert ask_both(address).answer[0][0].address == "192.0.2.2"


@pytest.mark.parametrize(
    "sent",
    [
        b"",
        b"\0",
        b"\0\0",
        b"\0\0" * 5000,
        frame(b"x"),
        frame(bytes(12)),
        frame(bytes(65535)),
        b"\xff\xff" + bytes(100),
        b"GET / HTTP/1.1\r\n\r\n",
        # An answer.
        frame(b"\0\0\x80" + bytes(9)),
    ],
    ids=range(10),
)
@pytest.mark.parametrize("reset", [False, True])
def test_no_client_ends_the_server(address, sent, reset):
    with socket.create_connection(address, TIMEOUT) as client:
        client.sendall(sent)
        if reset:
            client.setsockopt(
                socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0)
            )
    with socket.socket(type=socket.SOCK_DGRAM) as client:
        client.sendto(sent[:60000], address)
    assert ask_both(address).answer


def test_an_empty_frame_does_not_end_the_connection(address):
    with socket.create_connection(address, TIMEOUT) as client:
        client.sendall(b"\0\0" + frame(ASKED.to_wire()))
        with client.makefile("rb") as file:
            size = int.from_bytes(file.read(2), "big")
            assert ASKED.is_response(dns.message.from_wire(file.read(size)))


def test_a_truncated_answer_is_whole_over_tcp(tmp_path):
    zone = tmp_path / "zone"
    records = "".join(f"big IN A 192.0.2.{i}\n" for i in range(200))
    zone.write_text(
        "$ORIGIN example.org.\n$TTL 60\n@ IN SOA ns h 1 2 3 4 5\n"
        "@ IN NS ns\n" + records
    )
    asked = dns.message.make_query("big.example.org", "A", payload=4096)
    with running("dns_server.py", "127.0.0.1:0", "--zone", zone) as address:
        host, _, port = address.rpartition(":")
        answer, fell_back = dns.query.udp_with_fallback(
            asked, host, port=int(port), timeout=TIMEOUT
        )
    assert fell_back
    assert len(answer.answer[0]) == 200


def test_a_connection_that_is_idle_is_closed():
    with (
        running(
            "dns_server.py", "127.0.0.1:0", "--patience", "0.1"
        ) as address,
        socket.create_connection(address.rsplit(":", 1), TIMEOUT) as client,
    ):
        # Half a query is none.
        client.sendall(frame(ASKED.to_wire())[:-1])
        assert client.recv(1) == b""


def server_of(**options):
    zone = dns.zone.from_text(dns_server.ZONE, relativize=False)
    return dns_server.Server(Answers(zone), **options)


class Counting(triobatch.BatchSocketStream):
    """A stream that counts what is called."""

    calls = 0

    async def send_buffers(self, buffers):
        self.calls += 1
        return await super().send_buffers(buffers)


def stream_pair():
    ours, theirs = socket.socketpair()
    return (
        Counting(trio.socket.from_stdlib_socket(ours)),
        triobatch.BatchSocketStream(trio.socket.from_stdlib_socket(theirs)),
    )


async def test_all_queries_of_one_read_are_answered_by_one_write():
    stream, client = stream_pair()
    wires = [struct.pack("!H", i) + ASKED.to_wire()[2:] for i in range(200)]
    async with stream, client:
        await client.send_all(b"".join(map(frame, wires)))
        await client.send_eof()
        with trio.fail_after(TIMEOUT):
            await server_of().serve_stream(stream)
        await stream.send_eof()
        data = b"".join([data async for data in client])
    answers, used = dns_server.split(memoryview(data))
    assert used == len(data)
    # In their order.
    assert [answer[:2] for answer in answers] == [wire[:2] for wire in wires]
    assert stream.calls == 1


async def test_a_client_that_takes_no_answers_is_dropped(autojump_clock):
    stream, client = stream_pair()
    wires = frame(ASKED.to_wire()) * 100
    server = server_of(patience=5)

    async def send_for_ever():
        while True:
            await client.send_all(wires)

    async with stream, client, trio.open_nursery() as nursery:
        nursery.start_soon(send_for_ever)
        await server.serve_stream(stream)
        assert trio.current_time() >= 5
        nursery.cancel_scope.cancel()


async def test_there_are_no_more_connections_than_may_be(monkeypatch):
    monkeypatch.setattr(dns_server, "MOST_CONNECTIONS", 1)
    server = server_of()
    first, client = stream_pair()
    second, other = stream_pair()
    async with first, client, second, other, trio.open_nursery() as nursery:
        nursery.start_soon(server.serve_stream, first)
        await trio.testing.wait_all_tasks_blocked()
        with trio.fail_after(TIMEOUT):
            await server.serve_stream(second)
            await client.send_eof()
            await trio.testing.wait_all_tasks_blocked()
            # That one has gone.
            nursery.start_soon(server.serve_stream, second)
            await other.send_all(frame(ASKED.to_wire()))
            assert await other.receive_some()
            await other.send_eof()


@needs_command("dig")
@pytest.mark.parametrize("transport", ["+notcp", "+tcp"])
def test_dig_says_what_it_says_of_bind(transport):
    # By BIND 9.18, with the same zone: the status, flags and counts.
    expected = {
        "www.example.org A": "NOERROR qr aa rd 1 1 0 1",
        "www.example.org AAAA": "NOERROR qr aa rd 1 1 0 1",
        "mail.example.org AAAA": "NOERROR qr aa rd 1 0 1 1",
        "example.org NS": "NOERROR qr aa rd 1 1 0 2",
        "example.org MX": "NOERROR qr aa rd 1 1 0 2",
        "web.example.org A": "NOERROR qr aa rd 1 2 0 1",
        "_tcp.example.org A": "NOERROR qr aa rd 1 0 1 1",
        "joe.users.example.org A": "NOERROR qr aa rd 1 1 0 1",
        "www.lab.example.org A": "NOERROR qr rd 1 0 1 2",
        "nobody.example.org A": "NXDOMAIN qr aa rd 1 0 1 1",
        "www.example.net A": "REFUSED qr rd 1 0 0 1",
        "www.example.org A +edns=1 +noednsneg": "BADVERS qr rd 1 0 0 1",
        "www.example.org A +opcode=STATUS": "NOTIMP qr 0 0 0 1",
    }
    said = {}
    with running("dns_server.py", "127.0.0.1:0") as address:
        host, _, port = address.rpartition(":")
        for question in expected:
            done = subprocess.run(
                ["dig", f"@{host}", "-p", port, transport, *question.split()],
                capture_output=True,
                check=True,
                text=True,
                timeout=TIMEOUT,
            )
            found = re.search(
                r"status: (\w+),.*?flags: ([a-z ]*); QUERY: (\d+), "
                r"ANSWER: (\d+), AUTHORITY: (\d+), ADDITIONAL: (\d+)",
                done.stdout,
                re.DOTALL,
            )
            said[question] = " ".join(found.groups())
            assert "malformed" not in done.stdout + done.stderr
    assert said == expected
