"""What the benchmarks of datagrams count has arrived, and is right."""

import json
import shutil
import socket
import struct
import subprocess
import sys
import threading
from pathlib import Path

import pytest

if sys.platform != "linux" or shutil.which("cc") is None:
    pytest.skip(
        "the benchmarks are for Linux, with a C compiler",
        allow_module_level=True,
    )

from cases import small_batches

pytestmark = pytest.mark.slow

PEERS = Path(__file__).parent / "bench" / "peers"
LOOPBACK = "127.0.0.1"


@pytest.fixture
def start(tmp_path):
    """A function that starts a program of ``peers``; it returns the process,
    which has said that it is ready, and what it said.
    """
    processes = []

    def run(name, *arguments):
        program = tmp_path / name
        source = PEERS / f"{name}.c"
        subprocess.run(
            ["cc", "-D_GNU_SOURCE", source, "-o", program], check=True
        )
        process = subprocess.Popen(
            [program, *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        processes.append(process)
        return process, json.loads(process.stdout.readline())

    yield run
    for process in processes:
        process.kill()
        process.communicate()


def test_the_sink_counts_what_arrives_and_looks_at_it(start):
    _, ready = start("datagram_sink")
    address = (LOOPBACK, ready["port"])
    with (
        socket.create_connection(address) as control,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp,
    ):

        def told(wanted):
            control.sendall(struct.pack("!Q", wanted))
            return struct.unpack("!QQQ", control.recv(24))

        for data in (b"aaa", b"bb", b"c"):
            udp.sendto(data, address)
        assert told(3) == (3, 6, 0)
        # Cut up elsewhere than it should be; and the second one never comes.
        udp.sendto(b"aab", address)
        assert told(2) == (1, 3, 1)


def test_the_source_sends_as_many_as_are_ordered(start):
    _, ready = start("datagram_source")
    with (
        socket.create_connection((LOOPBACK, ready["port"])) as control,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp,
    ):
        udp.bind((LOOPBACK, 0))
        control.sendall(struct.pack("!QQQ", udp.getsockname()[1], 60, 1200))
        assert control.recv(1) == b"\0"
        udp.setblocking(False)
        assert [len(udp.recv(65536)) for _ in range(60)] == [1200] * 60
        with pytest.raises(BlockingIOError):
            udp.recv(65536)


@pytest.fixture
def make_server():
    """A function that starts a UDP server, which sends what ``answers`` makes
    of each request; it returns the port.
    """
    servers = []

    def make(answers):
        sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        sock.bind((LOOPBACK, 0))

        def serve():
            while True:
                data, address = sock.recvfrom(65536)
                if not data:
                    return
                for answer in answers(data):
                    sock.sendto(answer, address)

        thread = threading.Thread(target=serve)
        thread.start()
        servers.append((sock, thread))
        return sock.getsockname()[1]

    yield make
    for sock, thread in servers:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as last:
            last.sendto(b"", sock.getsockname())
        thread.join()
        sock.close()


def load(start, port, line):
    process, _ = start("datagram_load", str(port))
    process.stdin.write(line + "\n")
    process.stdin.flush()
    return json.loads(process.stdout.readline())


@pytest.mark.parametrize(
    "case", ["full 500 peers=4 window=8", "paced 500 peers=4 rate=5000"]
)
def test_the_load_counts_each_answer(start, make_server, case):
    port = make_server(lambda data: [data])
    answer = load(start, port, f"measure {case}")
    assert answer["datagrams"] == answer["count"] == 500
    assert answer["lost"] == 0
    assert 0 < answer["p50"] <= answer["p99"]


@pytest.mark.parametrize(
    "wrong",
    [
        lambda data: [data, data],
        lambda data: [data[:-1]],
        lambda data: [bytes([data[0] ^ 1, data[1] ^ 0x80]) + data[2:]],
    ],
    ids=["twice", "cut", "another's"],
)
def test_the_load_takes_no_wrong_answer(start, make_server, wrong):
    port = make_server(wrong)
    answer = load(start, port, "measure full 100 peers=1 window=1")
    assert answer == {"error": "an answer is not what was asked for"}


def test_the_load_goes_on_without_what_is_lost(start, make_server):
    port = make_server(lambda data: [data] if data[0] % 16 else [])
    answer = load(start, port, "measure full 40 peers=4 window=4")
    assert answer["datagrams"] == 40
    assert answer["lost"] > 0


@pytest.mark.parametrize("lost", [0, 1])
def test_the_load_on_a_relay_counts_what_comes_out(start, lost):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as relay:
        relay.bind((LOOPBACK, 0))
        relay.settimeout(20)
        process, _ = start("relay_load", str(relay.getsockname()[1]))
        _, target = relay.recvfrom(9)
        process.stdin.write("measure stream 3 block=10 window=2\n")
        process.stdin.flush()
        for number in range(30):
            payload, source = relay.recvfrom(65536)
            assert len(payload) == 1200
            assert source != target
            if number >= lost:
                relay.sendto(payload, target)
        answer = json.loads(process.stdout.readline())
    assert answer["count"] == 3
    assert answer["datagrams"] == 30 - lost
    assert answer["bytes"] == (30 - lost) * 1200


@pytest.mark.parametrize("way", ["nowait", "awaited", "qh3", "stdlib", "trio"])
def test_a_small_batch_comes_whole_and_in_order(way):
    if way == "qh3":
        pytest.importorskip("qh3")
    done = subprocess.run(
        [sys.executable, PEERS / "small_batches.py", way],
        input="measure 16 3 batch=16 verify=1\n",
        capture_output=True,
        text=True,
        check=True,
    )
    _, answer = map(json.loads, done.stdout.splitlines())
    assert answer["datagrams"] == 3 * 16
    assert (
        small_batches.check(small_batches.FAMILY.cases[4], 3, answer) is None
    )
    cut = answer | {"wrong": 1}
    assert small_batches.check(small_batches.FAMILY.cases[4], 3, cut)
