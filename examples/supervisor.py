"""Many processes on one port: what ``workers.py``, ``udp_workers.py`` share.

Each worker opens the port for itself, with SO_REUSEPORT, and the kernel
spreads the peers over them. The parent starts them, sums up what they report,
and starts another for one that has ended. It serves nobody itself, so nothing
that a peer sends can hurt it.

The two talk over pipes. A worker prints where it listens, and then what it has
counted, a line of JSON each time. It ends when its standard input does: when
the parent says so, and also when that is killed.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
from collections import Counter
from contextlib import suppress
from typing import TYPE_CHECKING, Protocol, TypeAlias

import trio
from echo_server import (
    announce,
    cancel_on_ctrl_c,
    cannot_listen,
    end_with_the_reader,
    format_address,
    natural,
    parse_host_and_port,
)

import triobatch

if TYPE_CHECKING:
    from collections.abc import Callable

HostAndPort: TypeAlias = tuple[str, int]

# A line of a worker's, in bytes.
MAX_LINE = 4096
# Seconds between two reports of a worker, and of the parent's.
WORKER_REPORTS = 0.2
PARENT_REPORTS = 10
# One that ends at once is not started more often than this, in seconds.
RESTART_PAUSE = 1
# What the parent gives one that is to end, in seconds.
GRACE = 5


class Serve(Protocol):
    """What a worker does with the port, for ever.

    It calls ``task_status.started`` with where it listens, and with what
    returns its counts.
    """

    async def __call__(
        self,
        address: HostAndPort,
        *,
        task_status: trio.TaskStatus[
            tuple[HostAndPort, Callable[[], dict[str, int]]]
        ],
    ) -> None:
        """Serve, and never return."""


async def work(serve: Serve, address: HostAndPort) -> int:
    """Serve until the parent is gone, or closes our standard input."""
    async with trio.open_nursery() as nursery:
        try:
            bound, count = await nursery.start(serve, address)
        except OSError as error:
            return cannot_listen(address, error)
        announce(bound, "{}")
        nursery.start_soon(report, count)
        async with trio.lowlevel.FdStream(os.dup(0)) as parent:
            await parent.receive_some()
        print(json.dumps(count()), flush=True)
        nursery.cancel_scope.cancel()
    return 0


async def report(count: Callable[[], dict[str, int]]) -> None:
    """Tell the parent what was counted, again and again."""
    while True:
        await trio.sleep(WORKER_REPORTS)
        print(json.dumps(count()), flush=True)


class Group:
    """The workers of one port.

    Args:
      count: How many there are to be.
      command: What starts one, without the address.
      address: Where they are to listen; port 0 is any free one, for all.
    """

    def __init__(
        self, count: int, command: list[str], address: HostAndPort
    ) -> None:
        self.address = address
        self.count = count
        self._command = command
        # Of those that run, and of those that have ended.
        self._counts: dict[int, Counter[str]] = {}
        self._ended: Counter[str] = Counter()

    def total(self) -> Counter[str]:
        """Return what all of them have counted, also those that are gone."""
        return sum(self._counts.values(), self._ended)

    async def keep_running(
        self, number: int, *, task_status: trio.TaskStatus[bool]
    ) -> None:
        """Keep one of them running, for ever.

        ``task_status`` is told whether it listens; if not, this is the end.
        """
        if not await self._run_one(number, task_status):
            task_status.started(False)
            return
        while True:
            next_start = trio.current_time() + RESTART_PAUSE
            await self._run_one(number, trio.TASK_STATUS_IGNORED)
            await trio.sleep_until(next_start)

    async def _run_one(
        self, number: int, task_status: trio.TaskStatus[bool]
    ) -> bool:
        """Run a worker to its end; return whether it ever listened."""
        process = await trio.lowlevel.open_process(
            [*self._command, format_address(self.address)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        assert process.stdin is not None
        assert process.stdout is not None
        lines = triobatch.BufferedReceiveStream(process.stdout)
        first = b""
        try:
            with suppress(EOFError):
                first = await lines.receive_until(b"\n", MAX_LINE)
            if first:
                # Which port it is, if it was to be any.
                self.address = parse_host_and_port(first.decode().strip())
                say(f"worker {number} is process {process.pid}")
                task_status.started(True)
                await self._add_up(process.pid, lines)
        finally:
            # Also if this is cancelled: it ends, and says what it counted.
            with trio.move_on_after(GRACE, shield=True):
                await process.stdin.aclose()
                await self._add_up(process.pid, lines)
                await process.wait()
            process.kill()
            self._ended += self._counts.pop(process.pid, Counter())
            await trio.aclose_forcefully(process.stdout)
        status = process.returncode
        say(f"worker {number}, process {process.pid}, ended: {status}")
        return bool(first)

    async def _add_up(
        self, pid: int, lines: triobatch.BufferedReceiveStream
    ) -> None:
        """Keep what a worker has counted, until it ends."""
        # It may be killed within a line.
        with suppress(EOFError):
            while line := await lines.receive_until(b"\n", MAX_LINE):
                self._counts[pid] = Counter(json.loads(line))


def say(text: str) -> None:
    """Print a line, for whoever reads along."""
    print(text, flush=True)


async def supervise(group: Group) -> int:
    """Keep a group running until Ctrl-C; return the exit status."""
    async with trio.open_nursery() as nursery:
        await nursery.start(cancel_on_ctrl_c, nursery.cancel_scope)
        # One after another, as the first one says what the port is.
        for number in range(group.count):
            if not await nursery.start(group.keep_running, number):
                nursery.cancel_scope.cancel()
                return 1
        announce(group.address)
        while True:
            await trio.sleep(PARENT_REPORTS)
            say(f"all: {dict(group.total())}")
    say(f"all: {dict(group.total())}")
    return 0


def main(description: str, serve: Serve) -> int:
    """Read the command line, and be the parent, or one of its workers."""
    end_with_the_reader()
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument(
        "address",
        nargs="?",
        type=parse_host_and_port,
        default="127.0.0.1:9000",
        help="host:port (default: %(default)s)",
    )
    parser.add_argument("--workers", type=natural, default=os.cpu_count() or 1)
    parser.add_argument(
        "--worker", action="store_true", help=argparse.SUPPRESS
    )
    arguments = parser.parse_args()
    if arguments.worker:
        # A terminal's Ctrl-C goes to all; it is the parent that ends them.
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        return trio.run(work, serve, arguments.address)
    command = [sys.executable, sys.argv[0], "--worker"]
    return trio.run(
        supervise, Group(arguments.workers, command, arguments.address)
    )
