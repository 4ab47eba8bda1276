"""The examples of many processes on one port, of which one is killed."""

from __future__ import annotations

import contextlib
import os
import re
import select
import signal
import subprocess
import sys

import pytest
import trio
from programs import run, started

import triobatch

pytestmark = pytest.mark.skipif(
    sys.platform != "linux", reason="SO_REUSEPORT balances on Linux"
)

WORKERS = 4
CLIENTS = 64
# Long after any answer over loopback, in seconds.
PATIENCE = 5
STARTED = re.compile(r"worker (\d) is process (\d+)\n")


@contextlib.contextmanager
def group(name):
    """Start an example; yield its process, its port and its workers."""
    with started(name, "127.0.0.1:0", "--workers", WORKERS) as parent:
        pids = {}
        for _ in range(WORKERS):
            number, pid = next_start(parent)
            pids[number] = pid
        host, port = parent.stdout.readline().split()[-1].split(":")
        try:
            yield parent, (host, int(port)), pids
        finally:
            end(parent)


def next_line(parent):
    """Return what it says next; what it reports now and then is left out."""
    while (line := parent.stdout.readline()).startswith("all: "):
        pass
    return line


def next_start(parent):
    """Return the number and the process of the worker that starts next."""
    found = STARTED.fullmatch(next_line(parent))
    assert found, parent.stderr.read()
    return int(found[1]), int(found[2])


def end(parent):
    """Stop it as Ctrl-C does; return the rest of its output."""
    if parent.poll() is not None:
        return ""
    parent.send_signal(signal.SIGINT)
    output, errors = parent.communicate(timeout=60)
    assert errors == ""
    assert parent.returncode == 0
    return output


def totals(output):
    """Return what all workers have counted, by the parent's last line."""
    last = output.splitlines()[-1]
    return {
        name: int(count) for name, count in re.findall(r"'(\w+)': (\d+)", last)
    }


class Load:
    """Clients that ask one question at a time, and note who answers."""

    def __init__(self):
        self.answers = 0
        # Who answered each client last.
        self.served_by = {}
        # Who had answered a client before an answer that never came.
        self.lost = []
        self.seen = set()
        self._answered = trio.lowlevel.ParkingLot()

    def note(self, client, answer, question):
        pid, *_, echoed = answer.split()
        assert echoed == question
        self.served_by[client] = int(pid)
        self.seen.add(int(pid))
        self.answers += 1
        self._answered.unpark_all()

    async def ask_by_udp(self, client, address):
        async with await triobatch.open_udp_socket(
            remote_address=address
        ) as sock:
            number = 0
            while True:
                number += 1
                question = b"%d-%d" % (client, number)
                with trio.move_on_after(PATIENCE) as waiting:
                    await sock.send(question)
                    answer, _ = await sock.receive()
                if waiting.cancelled_caught:
                    self.lost.append(self.served_by.get(client))
                else:
                    self.note(client, answer, question)

    async def ask_by_tcp(self, client, address):
        while True:
            async with await triobatch.open_tcp_stream(*address) as stream:
                reader = triobatch.BufferedReceiveStream(stream)
                number, pid = 0, None
                try:
                    while True:
                        number += 1
                        question = b"%d-%d" % (client, number)
                        await stream.send_all(question + b"\n")
                        with trio.fail_after(60):
                            answer = await reader.receive_until(b"\n", 1000)
                        if not answer:
                            raise EOFError
                        self.note(client, answer, question)
                        assert pid in {None, self.served_by[client]}
                        pid = self.served_by[client]
                except (trio.BrokenResourceError, EOFError):
                    self.lost.append(pid)

    async def until(self, condition):
        with trio.fail_after(60):
            while not condition():
                await self._answered.park()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "protocol"),
    [("udp_workers.py", "udp"), ("workers.py", "tcp")],
)
async def test_one_that_is_killed_under_load_loses_only_its_own(
    name, protocol
):
    with group(name) as (parent, address, pids):
        load = Load()
        ask = load.ask_by_udp if protocol == "udp" else load.ask_by_tcp
        async with trio.open_nursery() as nursery:
            for client in range(CLIENTS):
                nursery.start_soon(ask, client, address)
            # They balance: that one of four has none of 64 clients happens
            # once in 25 million runs.
            await load.until(lambda: load.seen == set(pids.values()))
            await load.until(lambda: load.answers > 20 * CLIENTS)
            victim = load.served_by[0]
            served = sum(pid == victim for pid in load.served_by.values())
            os.kill(victim, signal.SIGKILL)
            before = load.answers
            ended = await trio.to_thread.run_sync(next_line, parent)
            assert ended.endswith(f"process {victim}, ended: -9\n")
            number, successor = await trio.to_thread.run_sync(
                next_start, parent
            )
            assert pids[number] == victim
            # For UDP it gets a quarter of the clients; for TCP of new ones.
            if protocol == "tcp":
                for client in range(CLIENTS, 2 * CLIENTS):
                    nursery.start_soon(ask, client, address)
            await load.until(lambda: successor in load.seen)
            await load.until(lambda: load.answers > before + 20 * CLIENTS)
            # What was lost has been found out by then.
            await trio.sleep(PATIENCE if protocol == "udp" else 0)
            nursery.cancel_scope.cancel()
        assert set(load.lost) <= {victim}
        assert len(load.lost) <= served
        if protocol == "tcp":
            assert len(load.lost) == served
        counted = totals(end(parent))
    answered = counted["sent" if protocol == "udp" else "lines"]
    # The last words of the one that was killed were up to 0.2 s old.
    assert 0 < answered <= load.answers + 2 * CLIENTS


@pytest.mark.skipif(
    not hasattr(os, "pidfd_open"), reason="os has no pidfd_open"
)
async def test_workers_end_with_a_parent_that_is_killed():
    with started("udp_workers.py", "127.0.0.1:0", "--workers", 2) as parent:
        pids = [next_start(parent)[1] for _ in range(2)]
        watched = [os.pidfd_open(pid) for pid in pids]
        parent.kill()
        parent.wait(20)
        for fd in watched:
            # A descriptor of a process is readable when that has ended.
            assert select.select([fd], [], [], 20)[0]
            os.close(fd)


@pytest.mark.parametrize("name", ["udp_workers.py", "workers.py"])
def test_an_address_that_is_not_ours_is_an_error(name):
    result = run(name, "192.0.2.1:9", "--workers", 2)
    assert result.returncode == 1
    assert "cannot listen at 192.0.2.1:9" in result.stderr
    assert "Traceback" not in result.stderr


@pytest.mark.parametrize("name", ["udp_workers.py", "workers.py"])
def test_what_is_no_number_of_workers_is_refused(name):
    result = run(name, "--workers", 0)
    assert result.returncode == 2
    assert "from 1 on" in result.stderr


def test_the_parent_is_stopped_by_a_terminals_ctrl_c():
    # Which goes to all processes of the group at once.
    with subprocess.Popen(
        [
            *(sys.executable, "-Wdefault", "examples/workers.py"),
            *("127.0.0.1:0", "--workers", "2"),
        ],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        cwd=os.path.dirname(os.path.dirname(__file__)),
    ) as parent:
        for _ in range(3):
            assert parent.stdout.readline()
        os.killpg(parent.pid, signal.SIGINT)
        output, errors = parent.communicate(timeout=60)
    assert (errors, parent.returncode) == ("", 0)
    assert output == "all: {}\n"
