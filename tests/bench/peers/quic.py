"""QUIC by aioquic, one way: on triobatch, trio.socket, or its own asyncio.

    quic.py WAY         measures, with a server of the same way beside it
    quic.py WAY serve   is that server, told its certificate by standard input

The first two are driven by ``examples/quic_endpoint.py``, the very same code;
what differs is the socket.
"""

from __future__ import annotations

import asyncio
import ctypes
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import aioquic.asyncio
import trio
import trustme
from measuring import Stopwatch, answer, requests

import triobatch

sys.path.append(str(Path(__file__).parents[3] / "examples"))

from quic_echo import (
    COUNT,
    PIECE_SIZE,
    RECEIVE_BUFFER,
    UPLOAD,
    Client,
    Echo,
    configure,
    configure_server,
    exchange_all,
)
from quic_endpoint import Endpoint

PR_SET_PDEATHSIG = 1
LOOPBACK = "127.0.0.1"
STREAMS = 16


class PlainSocket:
    """What a program without batches would do, for the same driver."""

    def __init__(self, sock):
        self._sock = sock

    async def receive_batch(self):
        return [await self._sock.recvfrom(65536)]

    async def send_batch(self, datagrams, *, errors):
        for data, address in datagrams:
            await self._sock.sendto(data, address)
        return len(datagrams)


def opened(way):
    """Return a bound socket, and the one below it."""
    plain = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    plain.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER)
    plain.bind((LOOPBACK, 0))
    plain.setblocking(False)
    sock = trio.socket.from_stdlib_socket(plain)
    if way == "triobatch":
        return triobatch.DatagramSocket(sock), sock
    return PlainSocket(sock), sock


async def serve(way, path):
    sock, below = opened(way)
    answer(ready=True, port=below.getsockname()[1])
    await Endpoint(sock, Echo, configure_server(path, None)).run()


def client_configuration(ca):
    configuration = configure(
        is_client=True, alpn_protocols=[UPLOAD], server_name=LOOPBACK
    )
    configuration.load_verify_locations(cadata=ca)
    return configuration


async def measure(way, port, ca):
    # A connection each: they time out while others are measured.
    for request in requests():
        sock, below = opened(way)
        async with trio.open_nursery() as nursery:
            endpoint = Endpoint(sock, Client)
            nursery.start_soon(endpoint.run)
            client = endpoint.connect(
                client_configuration(ca), (LOOPBACK, port)
            )
            await client.wait(lambda: client.is_established)  # noqa: B023
            size = request.count * PIECE_SIZE
            watch = Stopwatch()
            right = await exchange_all(client, size, STREAMS, upload=True)
            report(request, watch, right=right)
            await client.aclose()
            nursery.cancel_scope.cancel()
        below.close()


def report(request, watch, *, right):
    size = request.count * PIECE_SIZE
    answer(
        **watch.read(),
        count=request.count,
        bytes=size if right else 0,
        wrong=0 if right else size,
    )


async def serve_asyncio(path):
    async def count(reader, writer):
        size = 0
        while data := await reader.read(2**20):
            size += len(data)
        writer.write(COUNT.pack(size))
        writer.write_eof()

    tasks = set()

    def start(reader, writer):
        task = asyncio.ensure_future(count(reader, writer))
        tasks.add(task)
        task.add_done_callback(tasks.discard)

    server = await aioquic.asyncio.serve(
        LOOPBACK,
        0,
        configuration=configure_server(path, None),
        stream_handler=start,
    )
    sock = server._transport.get_extra_info("socket")
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER)
    answer(ready=True, port=sock.getsockname()[1])
    await asyncio.Event().wait()


async def measure_asyncio(port, ca):
    for request in requests():
        async with aioquic.asyncio.connect(
            LOOPBACK, port, configuration=client_configuration(ca)
        ) as client:
            left = [bytes(PIECE_SIZE)] * request.count

            async def work():
                right = True
                while left:  # noqa: B023
                    data = left.pop()  # noqa: B023
                    reader, writer = await client.create_stream()
                    writer.write(data)
                    writer.write_eof()
                    right &= await reader.read() == COUNT.pack(len(data))
                return right

            watch = Stopwatch()
            done = await asyncio.gather(*(work() for _ in range(STREAMS)))
            report(request, watch, right=all(done))


def main(way, role="measure"):
    if role == "serve":
        # With whom it serves, however that ends.
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        path = sys.stdin.readline().strip()
        if way == "asyncio":
            asyncio.run(serve_asyncio(path))
        else:
            trio.run(serve, way, path)
        return
    authority = trustme.CA()
    issued = authority.issue_cert(LOOPBACK).private_key_and_cert_chain_pem
    with (
        issued.tempfile() as path,
        subprocess.Popen(
            [sys.executable, __file__, way, "serve"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        ) as server,
    ):
        # As the harness has it: the other end has a processor to itself.
        os.sched_setaffinity(server.pid, {os.cpu_count() - 1})
        try:
            print(path, file=server.stdin, flush=True)
            port = int(server.stdout.readline().split()[-1].strip("}"))
            ca = authority.cert_pem.bytes()
            if way == "asyncio":
                asyncio.run(measure_asyncio(port, ca))
            else:
                trio.run(measure, way, port, ca)
        finally:
            server.kill()


if __name__ == "__main__":
    main(*sys.argv[1:])
