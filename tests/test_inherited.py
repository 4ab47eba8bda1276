"""Sockets by socket activation: made by hand, and by systemd's own tool."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import subprocess
import sys
import textwrap

import pytest
from helpers import need_unix_sockets
from network import needs_command

# The child puts what it was given where systemd would, and says what it has.
PROGRAM = """
    import fcntl, json, os, sys
    given = json.loads(sys.argv[1])
    # Out of the way first.
    high = [fcntl.fcntl(fd, fcntl.F_DUPFD, 100) for fd in given]
    for number, fd in enumerate(high):
        os.dup2(fd, 3 + number)
    if os.environ.get("LISTEN_PID") == "mine":
        os.environ["LISTEN_PID"] = str(os.getpid())
    import trio, triobatch

    def described():
        return {
            name: [
                (type(own).__name__, own.socket.fileno(),
                 os.get_inheritable(own.socket.fileno()),
                 os.get_blocking(own.socket.fileno()))
                for own in sockets
            ]
            for name, sockets in kept.items()
        }

    try:
        kept = triobatch.inherited_sockets()
    except ValueError as error:
        print(json.dumps(str(error)))
        # Nothing was closed, and the next call says the same.
        for number in range(len(given)):
            os.fstat(3 + number)
        try:
            triobatch.inherited_sockets()
        except ValueError as again:
            assert str(again) == str(error)
        else:
            raise AssertionError
    else:
        print(json.dumps(described()))
        assert triobatch.inherited_sockets() == {}
        if kept:
            assert not [name for name in os.environ if "LISTEN" in name]
"""


def run(sockets, **variables):
    fds = [sock.fileno() for sock in sockets]
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(PROGRAM), json.dumps(fds)],
        pass_fds=fds,
        env={**os.environ, **variables},
        capture_output=True,
        text=True,
        check=False,
        timeout=30,
    )
    assert (done.returncode, done.stderr) == (0, "")
    return json.loads(done.stdout)


@pytest.fixture
def sockets(tmp_path):
    """Return two listeners, and two sockets of datagrams."""
    need_unix_sockets()
    made = [
        socket.create_server(("127.0.0.1", 0)),
        socket.socket(socket.AF_UNIX, socket.SOCK_STREAM),
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM),
        socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM),
    ]
    made[1].bind(str(tmp_path / "stream"))
    made[1].listen()
    made[2].bind(("127.0.0.1", 0))
    made[3].bind(str(tmp_path / "datagram"))
    yield made
    for sock in made:
        sock.close()


def test_each_socket_is_what_it_is(sockets):
    assert run(
        sockets,
        LISTEN_PID="mine",
        LISTEN_FDS="4",
        LISTEN_FDNAMES="http:http:dns:",
    ) == {
        "http": [
            ["BatchSocketListener", 3, False, False],
            ["BatchSocketListener", 4, False, False],
        ],
        "dns": [["DatagramSocket", 5, False, False]],
        "": [["DatagramSocket", 6, False, False]],
    }


def test_without_names_they_are_unknown(sockets):
    found = run(sockets[:2], LISTEN_PID="mine", LISTEN_FDS="2")
    assert [row[1] for row in found.pop("unknown")] == [3, 4]
    assert found == {}


@pytest.mark.parametrize(
    "variables",
    [
        {},
        {"LISTEN_FDS": "1"},
        {"LISTEN_FDS": "1", "LISTEN_PID": "1"},
        {"LISTEN_FDS": "1", "LISTEN_PID": ""},
        {"LISTEN_FDS": "0", "LISTEN_PID": "mine"},
        {"LISTEN_FDS": "0", "LISTEN_PID": "mine", "LISTEN_FDNAMES": ""},
    ],
)
def test_what_is_not_for_this_process_is_nothing(sockets, variables):
    assert run(sockets[:1], **variables) == {}


@pytest.mark.parametrize(
    ("variables", "message"),
    [
        ({}, "LISTEN_FDS must be a number, not ''"),
        ({"LISTEN_FDS": "x"}, "LISTEN_FDS must be a number, not 'x'"),
        ({"LISTEN_FDS": "-1"}, "LISTEN_FDS must be a number, not '-1'"),
        (
            {"LISTEN_FDS": "2", "LISTEN_FDNAMES": "a"},
            "LISTEN_FDNAMES must have 2 names, not 'a'",
        ),
        (
            {"LISTEN_FDS": "1", "LISTEN_FDNAMES": "a:b"},
            "LISTEN_FDNAMES must have 1 names, not 'a:b'",
        ),
    ],
)
def test_what_cannot_be_is_refused(sockets, variables, message):
    found = run(sockets[:2], LISTEN_PID="mine", **variables)
    assert found == message


@pytest.mark.parametrize("kind", ["connected", "file", "packets"])
def test_another_descriptor_is_refused(sockets, kind, tmp_path):
    with contextlib.ExitStack() as stack:
        if kind == "file":
            other = stack.enter_context((tmp_path / "file").open("w"))
        else:
            number = (
                socket.SOCK_STREAM
                if kind == "connected"
                else socket.SOCK_SEQPACKET
            )
            pair = socket.socketpair(socket.AF_UNIX, number)
            other, _ = map(stack.enter_context, pair)
        found = run([*sockets[:2], other], LISTEN_PID="mine", LISTEN_FDS="3")
    assert found.startswith("descriptor 5 ('unknown') must be a socket")
    # They are as they were.
    assert sockets[0].getsockname()[1]


THREADS = """
    import os, sys, threading
    import triobatch

    def take():
        begin.wait()
        if sockets := triobatch.inherited_sockets():
            found.append(sockets)

    sys.setswitchinterval(1e-6)
    begin = threading.Barrier(3)
    found = []
    for _ in range(20):
        os.environ.update(LISTEN_PID=str(os.getpid()), LISTEN_FDS="1")
        threads = [threading.Thread(target=take) for _ in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    # All are of one descriptor, which nobody is to close.
    print(len(found))
    sys.stdout.flush()
    os._exit(0)
"""


def test_one_thread_has_them(sockets):
    program = f"import os; os.dup2({sockets[0].fileno()}, 3)"
    done = subprocess.run(
        [sys.executable, "-c", program + textwrap.dedent(THREADS)],
        pass_fds=[sockets[0].fileno()],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert (done.returncode, done.stderr, done.stdout) == (0, "", "20\n")


ACTIVATED = """
    import trio, triobatch

    async def main():
        found = triobatch.inherited_sockets()
        [own] = found["web"]
        if isinstance(own, triobatch.DatagramSocket):
            data, address = await own.receive()
            await own.send(data.upper(), address)
            return
        async with await own.accept() as stream:
            await stream.send_all((await stream.receive_some()).upper())

    trio.run(main)
"""


def free_port(kind):
    with socket.socket(socket.AF_INET, kind) as sock:
        sock.bind(("127.0.0.1", 0))
        return sock.getsockname()[1]


# systemd-socket-activate hands on no variables but these: which core runs, and
# what a sanitizer needs.
HANDED_ON = (
    "ASAN_OPTIONS",
    "LD_PRELOAD",
    "PYTHONMALLOC",
    "TRIOBATCH_CORE",
    "UBSAN_OPTIONS",
)


@needs_command("systemd-socket-activate")
@pytest.mark.parametrize("kind", ["stream", "datagram"])
def test_under_systemd_socket_activate(kind):
    number = socket.SOCK_STREAM if kind == "stream" else socket.SOCK_DGRAM
    port = free_port(number)
    with subprocess.Popen(
        [
            "systemd-socket-activate",
            *(["--datagram"] if kind == "datagram" else []),
            f"--listen=127.0.0.1:{port}",
            "--fdname=web",
            *(f"--setenv={name}" for name in HANDED_ON if name in os.environ),
            *("-E", f"PYTHONPATH={os.pathsep.join(filter(None, sys.path))}"),
            *(sys.executable, "-c", textwrap.dedent(ACTIVATED)),
        ],
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            assert "Listening on" in process.stderr.readline()
            with socket.socket(socket.AF_INET, number) as client:
                client.settimeout(20)
                client.connect(("127.0.0.1", port))
                client.send(b"hello")
                assert client.recv(100) == b"HELLO"
            assert process.wait(20) == 0
        finally:
            process.kill()
