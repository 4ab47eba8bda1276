"""Several processes that listen on one port, each with a socket of its own."""

from __future__ import annotations

import collections
import contextlib
import re
import shutil
import signal
import socket
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest

WORKER = """
    import contextlib, os, sys, trio, triobatch

    # Whatever is asked, in HTTP or not.
    ANSWER = b"HTTP/1.1 200 OK\\r\\nContent-Length: 8\\r\\n\\r\\n%08d"

    async def answer(stream):
        # wrk ends with requests on their way.
        with contextlib.suppress(trio.BrokenResourceError):
            async for _ in stream:
                await stream.send_all(ANSWER % os.getpid())

    async def main():
        listeners = await triobatch.open_tcp_listeners(
            int(sys.argv[1]), host="127.0.0.1", reuse_port=True
        )
        print("listening", flush=True)
        await trio.serve_listeners(answer, listeners)

    trio.run(main)
"""
WORKERS = 4
CLIENTS = 200


@pytest.fixture
def workers():
    """Return the port, and the processes by their number."""
    with socket.socket() as sock, contextlib.ExitStack() as stack:
        # Bound and not listening: it keeps the port, and gets nothing.
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        sock.bind(("127.0.0.1", 0))
        port = sock.getsockname()[1]
        processes = {}
        for _ in range(WORKERS):
            process = stack.enter_context(
                subprocess.Popen(
                    [sys.executable, "-c", textwrap.dedent(WORKER), str(port)],
                    stdout=subprocess.PIPE,
                    text=True,
                )
            )
            stack.callback(process.kill)
            assert process.stdout.readline() == "listening\n"
            processes[process.pid] = process
        yield port, processes


def ask(client):
    client.sendall(b"who?")
    return int(client.recv(100)[-8:])


def test_they_balance_and_one_that_dies_loses_its_own(workers):
    port, processes = workers
    with contextlib.ExitStack() as stack:

        def connect():
            return stack.enter_context(
                socket.create_connection(("127.0.0.1", port), timeout=60)
            )

        clients = [
            (client, ask(client))
            for client in [connect() for _ in range(CLIENTS)]
        ]
        served = collections.Counter(pid for _, pid in clients)
        assert served.keys() == processes.keys()
        # A quarter each, of a binomial distribution: 5 standard deviations.
        assert min(served.values()) > CLIENTS / WORKERS - 5 * 6.2
        victim = clients[0][1]
        processes[victim].kill()
        processes[victim].wait(20)
        for client, pid in clients:
            if pid == victim:
                with contextlib.suppress(ConnectionResetError):
                    assert client.recv(1) == b""
            else:
                assert ask(client) == pid
        assert victim not in {ask(connect()) for _ in range(CLIENTS)}


def sockets_of(pid):
    """Return the sockets of a process, by their inodes."""
    links = [path.readlink() for path in Path(f"/proc/{pid}/fd").iterdir()]
    return {str(link) for link in links if str(link).startswith("socket:")}


@pytest.mark.slow
@pytest.mark.skipif(
    shutil.which("wrk") is None or sys.platform != "linux",
    reason="needs wrk, and /proc",
)
def test_one_that_is_killed_under_wrk_loses_only_its_own(workers):
    port, processes = workers
    before = {pid: sockets_of(pid) for pid in processes}
    url = f"http://127.0.0.1:{port}/"
    # Until it is interrupted; and however busy the machine is.
    wrk = ["wrk", "-t1", f"-c{CLIENTS}", "-d100s", "--timeout=100s", url]
    with subprocess.Popen(wrk, stdout=subprocess.PIPE, text=True) as wrk:

        def connected(pids):
            """Wait until every client is; return each process's sockets."""
            own = {}
            while sum(map(len, own.values())) < CLIENTS:
                time.sleep(0.05)
                own = {pid: sockets_of(pid) - before[pid] for pid in pids}
            return own

        try:
            own = connected(processes)
            assert min(map(len, own.values())) > CLIENTS / WORKERS - 5 * 6.2
            victim, *others = processes
            processes[victim].kill()
            processes[victim].wait(60)
            later = connected(others)
            for pid in others:
                assert own[pid] <= later[pid]
            wrk.send_signal(signal.SIGINT)
            report, _ = wrk.communicate(timeout=60)
        finally:
            wrk.kill()
    errors = re.search(
        r"connect (\d+), read (\d+), write (\d+), timeout (\d+)", report
    )
    assert errors is not None, report
    connect, read, write, timeout = map(int, errors.groups())
    assert (connect, timeout) == (0, 0)
    # And what connected anew to it while it went.
    lost = len(own[victim])
    assert lost <= read + write <= 2 * lost, report
    assert "Non-2xx" not in report
    for pid in others:
        assert processes[pid].poll() is None
