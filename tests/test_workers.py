"""Several processes that listen on one port, each with a socket of its own."""

from __future__ import annotations

import collections
import contextlib
import socket
import subprocess
import sys
import textwrap

import pytest

WORKER = """
    import os, sys, trio, triobatch

    async def answer(stream):
        async for _ in stream:
            await stream.send_all(b"%d\\n" % os.getpid())

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
    return int(client.recv(100))


def test_they_balance_and_one_that_dies_loses_its_own(workers):
    port, processes = workers
    with contextlib.ExitStack() as stack:

        def connect():
            return stack.enter_context(
                socket.create_connection(("127.0.0.1", port), timeout=20)
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
