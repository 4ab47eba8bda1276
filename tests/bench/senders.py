"""Batch senders and broadcasts beside what they replace, in one run.

    python tests/bench/senders.py [--rounds 9] [--json FILE]

1000 tasks send messages of 64 bytes on one TCP connection over loopback, to a
process that drains it and acknowledges the last byte; and a message of 200
bytes goes to 500 connections. The ways take turns, round by round, and the
table shows medians. asyncio and uvloop are asked as their documentation has
it, with ``writer.write`` and ``await writer.drain()``. The C loop of ``send``
is compiled on the spot, if there is a compiler.
"""

from __future__ import annotations

import argparse
import asyncio
import ctypes
import json
import multiprocessing
import selectors
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

import trio
from streams import HEADER, drain

import triobatch

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from multiprocessing.connection import Connection

TASKS = 1000
MESSAGE = b"m" * 64
CONNECTIONS = 500
ANNOUNCEMENT = b"a" * 200
C_LOOP = """
#include <sys/socket.h>
#include <sys/types.h>
void send_each(const int *fds, long *sent, long count, const void *data,
               long size)
{
    for (long i = 0; i < count; i++)
        sent[i] = send(fds[i], data, (size_t)size,
                       MSG_DONTWAIT | MSG_NOSIGNAL);
}
"""


async def timed_trio(
    stream: trio.abc.HalfCloseableStream,
    turns: int,
    send: Callable[[bytes], Awaitable[None]],
) -> float:
    """Return the seconds that a message of each of 1000 tasks takes."""

    async def one_task() -> None:
        for _ in range(turns):
            await send(MESSAGE)

    start = time.perf_counter()
    async with trio.open_nursery() as nursery:
        for _ in range(TASKS):
            nursery.start_soon(one_task)
    await stream.receive_some(1)
    return (time.perf_counter() - start) / (TASKS * turns)


def announce(turns: int) -> bytes:
    return HEADER.pack(TASKS * turns * len(MESSAGE))


async def lock_and_send_all(port: int) -> float:
    turns = 5
    lock = trio.Lock()
    async with await trio.open_tcp_stream("127.0.0.1", port) as stream:
        await stream.send_all(announce(turns))

        async def send(message: bytes) -> None:
            async with lock:
                await stream.send_all(message)

        return await timed_trio(stream, turns, send)


async def batch_sender(port: int) -> float:
    turns = 100
    async with await triobatch.open_tcp_stream("127.0.0.1", port) as stream:
        await stream.send_all(announce(turns))
        async with triobatch.open_batch_sender(stream) as sender:
            return await timed_trio(stream, turns, sender.send)


async def batch_sender_nowait(port: int) -> float:
    turns = 100
    async with await triobatch.open_tcp_stream("127.0.0.1", port) as stream:
        await stream.send_all(announce(turns))
        async with triobatch.open_batch_sender(stream) as sender:

            async def send(message: bytes) -> None:
                try:
                    # As asyncio's writers: no wait while there is room.
                    sender.send_nowait(message)
                except trio.WouldBlock:
                    await sender.send(message)

            return await timed_trio(stream, turns, send)


async def write_and_drain(port: int) -> float:
    turns = 100
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(announce(turns))

    async def one_task() -> None:
        for _ in range(turns):
            writer.write(MESSAGE)
            await writer.drain()

    start = time.perf_counter()
    await asyncio.gather(*[one_task() for _ in range(TASKS)])
    await reader.readexactly(1)
    elapsed = time.perf_counter() - start
    writer.close()
    await writer.wait_closed()
    return elapsed / (TASKS * turns)


def sender_ways(port: int) -> dict[str, Callable[[], float]]:
    ways: dict[str, Callable[[], float]] = {
        "Lock + send_all": lambda: trio.run(lock_and_send_all, port),
        "asyncio": lambda: asyncio.run(write_and_drain(port)),
    }
    try:
        import uvloop  # noqa: PLC0415 (it is optional)
    except ImportError:
        print("no uvloop here", file=sys.stderr)
    else:
        ways["uvloop"] = lambda: uvloop.run(write_and_drain(port))
    ways["BatchSender.send"] = lambda: trio.run(batch_sender, port)
    ways["BatchSender.send_nowait"] = lambda: trio.run(
        batch_sender_nowait, port
    )
    return ways


def drain_many(ports: Connection) -> None:
    """Read whatever comes on any connection, and forget it."""
    room = bytearray(65536)
    with (
        selectors.DefaultSelector() as selector,
        socket.create_server(("127.0.0.1", 0), backlog=CONNECTIONS) as server,
    ):
        ports.send(server.getsockname()[1])
        selector.register(server, selectors.EVENT_READ)
        while True:
            for key, _ in selector.select():
                if key.fileobj is server:
                    connection, _ = server.accept()
                    selector.register(connection, selectors.EVENT_READ)
                elif not key.fileobj.recv_into(room):
                    selector.unregister(key.fileobj)


def compile_c_loop(directory: str) -> Callable[..., None] | None:
    compiler = shutil.which("cc")
    if compiler is None:
        return None
    library = Path(directory) / "loop.so"
    subprocess.run(
        [compiler, "-O2", "-shared", "-fPIC", "-xc", "-", "-o", library],
        input=C_LOOP.encode(),
        check=True,
    )
    return ctypes.CDLL(str(library)).send_each


async def measure_broadcasts(port: int, rounds: int) -> dict[str, float]:
    """Return the median seconds of a broadcast, for each way."""
    streams = [
        await triobatch.open_tcp_stream("127.0.0.1", port)
        for _ in range(CONNECTIONS)
    ]
    plain = [
        await trio.open_tcp_stream("127.0.0.1", port)
        for _ in range(CONNECTIONS)
    ]

    async def each_send_all() -> None:
        for stream in plain:
            await stream.send_all(ANNOUNCEMENT)

    async def broadcast() -> None:
        result = await triobatch.broadcast(streams, ANNOUNCEMENT)
        assert not result.missed

    ways = {"loop of send_all": each_send_all, "broadcast": broadcast}
    with tempfile.TemporaryDirectory() as directory:
        send_each = compile_c_loop(directory)
    if send_each is not None:
        fds = (ctypes.c_int * CONNECTIONS)(
            *(stream.socket.fileno() for stream in streams)
        )
        sent = (ctypes.c_long * CONNECTIONS)()

        async def c_loop() -> None:
            send_each(fds, sent, CONNECTIONS, ANNOUNCEMENT, len(ANNOUNCEMENT))
            assert set(sent) == {len(ANNOUNCEMENT)}

        ways["C loop of send"] = c_loop
    times: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(rounds + 1):
        for name, way in ways.items():
            # For the peers to catch up: they run on the same machine.
            await trio.sleep(0.02)
            start = time.perf_counter()
            await way()
            times[name].append(time.perf_counter() - start)
    return {
        name: statistics.median(figures[1:]) for name, figures in times.items()
    }


def start(target: Callable[[Connection], None]) -> int:
    ours, theirs = multiprocessing.Pipe()
    multiprocessing.Process(target=target, args=(theirs,), daemon=True).start()
    return ours.recv()


def show(title: str, medians: dict[str, float], ours: str) -> None:
    print(f"\n{title}")
    for name, seconds in medians.items():
        ratio = seconds / medians[ours]
        print(f"{name:26}{seconds * 1e6:10.2f} us {ratio:8.2f}")


def main() -> None:
    """Measure, and print both tables."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--json", metavar="FILE")
    options = parser.parse_args()
    print(triobatch.capabilities())
    ways = sender_ways(start(drain))
    times: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(options.rounds):
        for name, way in ways.items():
            times[name].append(way())
    senders = {
        name: statistics.median(figures) for name, figures in times.items()
    }
    show(
        f"{TASKS} tasks x {len(MESSAGE)} B, a message; "
        f"medians of {options.rounds}, and ratios to BatchSender.send",
        senders,
        "BatchSender.send",
    )
    broadcasts = trio.run(
        measure_broadcasts, start(drain_many), 10 * options.rounds
    )
    show(
        f"{len(ANNOUNCEMENT)} B to {CONNECTIONS} connections; "
        f"medians of {10 * options.rounds}, and ratios to broadcast",
        broadcasts,
        "broadcast",
    )
    if options.json:
        with open(options.json, "w", encoding="utf-8") as file:
            json.dump(senders | broadcasts, file, indent=2)


if __name__ == "__main__":
    main()
