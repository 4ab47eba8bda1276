"""Gathered stream writes beside what Trio offers today, in one run.

    python tests/bench/streams.py [--rounds 9] [--seconds 0.02] [--json FILE]

Each way of sending has a TCP connection of its own over loopback to a process
that drains them. A measurement sends a batch again and again and ends when the
sink has acknowledged the last byte, so that nothing is won by queueing. The
ways take turns, round by round, and the table shows medians: microseconds a
batch, and the ratio to the best of the others.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import socket
import statistics
import struct
import sys
import threading
import time
from typing import TYPE_CHECKING

import trio

import triobatch
from triobatch import BatchSocketStream, Buffers

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from multiprocessing.connection import Connection

KIB = 1024
SHAPES: dict[str, list[int]] = {
    "16 x 64 B": [64] * 16,
    "256 x 64 B": [64] * 256,
    "1024 x 64 B": [64] * 1024,
    "64 x 1 KiB": [KIB] * 64,
    "16 x 4 KiB": [4 * KIB] * 16,
    "64 x 4 KiB": [4 * KIB] * 64,
    "16 x 64 KiB": [64 * KIB] * 16,
    "200 B + 1 MiB": [200, 1024 * KIB],
}
HEADER = struct.Struct("!Q")


def drain(ports: Connection) -> None:
    """Read what each header announces, and acknowledge it with one byte."""

    def drain_one(connection: socket.socket) -> None:
        room = bytearray(1024 * KIB)
        with connection:
            while header := connection.recv(HEADER.size, socket.MSG_WAITALL):
                (left,) = HEADER.unpack(header)
                while left:
                    left -= connection.recv_into(room, min(left, len(room)))
                connection.send(b"\0")

    with socket.create_server(("127.0.0.1", 0)) as listener:
        ports.send(listener.getsockname()[1])
        while True:
            connection, _ = listener.accept()
            threading.Thread(
                target=drain_one, args=(connection,), daemon=True
            ).start()


class Way:
    """One way of sending, on a connection of its own."""

    def __init__(
        self,
        stream: trio.abc.HalfCloseableStream,
        send: Callable[[list[bytes]], Awaitable[object]],
    ) -> None:
        self.stream = stream
        self.send = send

    async def measure(self, chunks: list[bytes], count: int) -> float:
        """Return the seconds that one of ``count`` batches takes."""
        size = sum(map(len, chunks))
        await self.stream.send_all(HEADER.pack(size * count))
        send = self.send
        start = time.perf_counter()
        for _ in range(count):
            await send(chunks)
        acknowledgement = await self.stream.receive_some(1)
        elapsed = time.perf_counter() - start
        if acknowledgement != b"\0":
            raise RuntimeError("the sink did not get every byte")
        return elapsed / count


async def sendmsg_loop(
    sock: trio.socket.SocketType, chunks: list[bytes]
) -> None:
    """Send with ``sock.sendmsg``, as carefully as one has to."""
    left: list[bytes | memoryview] = list(chunks)
    while left:
        sent = await sock.sendmsg(left[:1024])
        done = 0
        while done < len(left) and sent >= len(left[done]):
            sent -= len(left[done])
            done += 1
        del left[:done]
        if sent:
            left[0] = memoryview(left[0])[sent:]


async def open_ways(port: int) -> dict[str, Way]:
    """Connect every way of sending to the sink."""

    async def connect() -> trio.SocketStream:
        return await trio.open_tcp_stream("127.0.0.1", port)

    async def batch() -> BatchSocketStream:
        return await triobatch.open_tcp_stream("127.0.0.1", port)

    each, joined, plain = await connect(), await connect(), await connect()
    # A plain Trio socket, as its user has it: TCP_NODELAY, and none of
    # SocketStream's limit on what waits to be sent.
    if hasattr(socket, "TCP_NOTSENT_LOWAT"):
        plain.setsockopt(
            socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, 2**31 - 1
        )
    listed, consumed, nowait = await batch(), await batch(), await batch()

    async def send_each(chunks: list[bytes]) -> None:
        for chunk in chunks:
            await each.send_all(chunk)

    async def send_nowait(chunks: list[bytes]) -> None:
        buffers = Buffers(chunks)
        while buffers:
            try:
                nowait.send_buffers_nowait(buffers)
            except trio.WouldBlock:
                await nowait.wait_send_all_might_not_block()

    return {
        "send_all each": Way(each, send_each),
        "send_all(join)": Way(
            joined, lambda chunks: joined.send_all(b"".join(chunks))
        ),
        "sendmsg loop": Way(
            plain, lambda chunks: sendmsg_loop(plain.socket, chunks)
        ),
        "send_buffers(list)": Way(listed, listed.send_buffers),
        "send_buffers(Buffers)": Way(
            consumed, lambda chunks: consumed.send_buffers(Buffers(chunks))
        ),
        "_nowait(Buffers)": Way(nowait, send_nowait),
    }


async def measure_shape(
    ways: dict[str, Way], sizes: list[int], rounds: int, seconds: float
) -> dict[str, float]:
    """Return the median seconds a batch, for each way."""
    chunks = [os.urandom(size) for size in sizes]
    counts = {}
    for name, way in ways.items():
        first = await way.measure(chunks, 3)
        counts[name] = max(2, int(seconds / first))
    times: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(rounds):
        for name, way in ways.items():
            times[name].append(await way.measure(chunks, counts[name]))
    return {
        name: statistics.median(figures) for name, figures in times.items()
    }


async def main(
    port: int, options: argparse.Namespace
) -> dict[str, dict[str, float]]:
    """Print the table; return seconds a batch, by shape and way."""
    print(triobatch.capabilities())
    print(
        f"\nmedians of {options.rounds}, us a batch (ratio to the best other)"
    )
    results = {}
    for shape, sizes in SHAPES.items():
        if sys.stderr.isatty():
            print(f"{shape} ...", end="\r", file=sys.stderr)
        # New connections, so that no way is judged by what congestion control
        # learnt from it with another shape.
        ways = await open_ways(port)
        medians = await measure_shape(
            ways, sizes, options.rounds, options.seconds
        )
        for way in ways.values():
            await way.stream.aclose()
        if not results:
            print(f"{'':14}" + "".join(f"{name:>22}" for name in ways))
        others = ("send_all each", "send_all(join)", "sendmsg loop")
        best = min(medians[name] for name in others)
        cells = (
            f"{figure * 1e6:13.1f} ({figure / best:5.2f})"
            for figure in medians.values()
        )
        print(f"{shape:14}" + "".join(f"{cell:>22}" for cell in cells))
        results[shape] = medians
    return results


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument(
        "--seconds", type=float, default=0.02, help="a measurement's length"
    )
    parser.add_argument("--json", metavar="FILE")
    ours, theirs = multiprocessing.Pipe()
    sink = multiprocessing.Process(target=drain, args=(theirs,), daemon=True)
    sink.start()
    options = parser.parse_args()
    results = trio.run(main, ours.recv(), options)
    if options.json:
        with open(options.json, "w", encoding="utf-8") as file:
            json.dump(results, file, indent=2)
