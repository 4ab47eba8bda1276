"""What a soak does all at once: each load sends, and accounts for all of it.

A load runs until its deadline, closes what it has opened, and notes in a
``Tally`` what was sent and what arrived. What is unaccounted for is an
AssertionError.
"""

from __future__ import annotations

import contextlib
import errno
import os
import random
import resource
import signal
import socket
import ssl
import struct
import subprocess
import sys
import tempfile
from collections import Counter
from functools import partial
from pathlib import Path

import trio
import trustme

import triobatch
from triobatch import (
    BatchSocketStream,
    BroadcastResult,
    Buffers,
)

# What the bytes of a stream are: at any place they tell which one it is.
PATTERN = b"".join(struct.pack("<I", i) for i in range(2**16))
MAX_FILE_SIZE = 2**20

BROKEN = (trio.BrokenResourceError, trio.ClosedResourceError)


class Tally(Counter):
    """Bytes, datagrams, resets and so on, by name."""


def pattern(start: int, size: int) -> bytes:
    """Return ``size`` bytes of the endless stream from ``start`` on."""
    start %= len(PATTERN)
    return PATTERN[start : start + size]


def pieces(rng, start, size):
    """Return that as chunks of several kinds and sizes."""
    left = pattern(start, size)
    found = []
    while left:
        cut = rng.choice((1, 60, 600, 4000, 20000))
        piece, left = left[:cut], left[cut:]
        found.append(rng.choice((bytes, bytearray, memoryview))(piece))
    return found


async def opened(tally, opener):
    """Return what an opener opens, also while there are no descriptors."""
    while True:
        try:
            return await opener()
        except OSError as error:
            if error.errno not in (errno.EMFILE, errno.ENFILE):
                raise
            tally["openings refused"] += 1
            await trio.sleep(0.01)


async def _connect():
    # In one step, so that the other end is not left out when one fails.
    listener = socket.socket()
    with listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        left = socket.socket()
        try:
            left.connect(listener.getsockname())
            right, _ = listener.accept()
        except BaseException:
            left.close()
            raise
    made = []
    for sock in (left, right):
        sock.setblocking(False)
        made.append(BatchSocketStream(trio.socket.from_stdlib_socket(sock)))
    return made


async def connected(tally):
    """Return two streams that are connected over TCP."""
    return await opened(tally, _connect)


def reset(stream):
    """Have the close of a stream be a reset."""
    stream.setsockopt(
        socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0)
    )


async def verify(stream, tally, name, limit=None, rng=None):
    """Receive a patterned stream to its end, or a limit; return its size."""
    size = 0
    with contextlib.suppress(*BROKEN):
        while limit is None or size < limit:
            if rng is not None and rng.random() < 0.05:
                await trio.sleep(rng.random() / 100)
            data = await stream.receive_some()
            if not data:
                break
            assert (
                data == (PATTERN + PATTERN)[size % len(PATTERN) :][: len(data)]
            ), f"{name}: other bytes at {size}"
            size += len(data)
    tally[f"{name}: bytes"] += size
    return size


async def streams(tally, rng, over):
    """Send with cancels; resume where they stopped; end with a reset."""
    while not over():
        left, right = await connected(tally)
        limit = rng.choice((None, None, rng.randrange(10**6)))
        sent = 0
        arrived = None

        async def receive(right=right, limit=limit):
            nonlocal arrived
            arrived = await verify(right, tally, "streams", limit, rng)
            if limit is not None:
                reset(right)
            await right.aclose()

        async with trio.open_nursery() as nursery, left:
            nursery.start_soon(receive)
            with contextlib.suppress(*BROKEN):
                for _ in range(30):
                    size = rng.randrange(100000)
                    buffers = Buffers(pieces(rng, sent, size))
                    size = buffers.nbytes
                    while buffers:
                        before = buffers.nbytes
                        try:
                            with trio.move_on_after(rng.random() / 300):
                                await left.send_buffers(buffers)
                        finally:
                            sent += before - buffers.nbytes
                        if buffers:
                            tally["streams: cancels"] += 1
        assert arrived <= sent
        if limit is None:
            assert arrived == sent, f"streams: {arrived} of {sent}"
        else:
            tally["streams: resets"] += 1


def contexts():
    """Return TLS contexts, of a client and its server."""
    authority = trustme.CA()
    server = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("localhost").configure_cert(server)
    client = ssl.create_default_context()
    authority.configure_trust(client)
    return client, server


CONTEXTS = contexts()


async def tls(tally, rng, over):
    """Send through TLS, with ``send_buffers`` and a batch sender."""
    while not over():
        left, right = await connected(tally)
        client = trio.SSLStream(left, CONTEXTS[0], server_hostname="localhost")
        server = trio.SSLStream(right, CONTEXTS[1], server_side=True)
        total = 0
        arrived = None

        async def receive(server=server):
            nonlocal arrived
            arrived = await verify(server, tally, "TLS")
            await server.aclose()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(receive)
            for _ in range(5):
                size = rng.randrange(60000)
                chunks = pieces(rng, total, size)
                total += await triobatch.send_buffers(client, chunks)
            async with triobatch.open_batch_sender(client) as sender:
                for _ in range(20):
                    data = pattern(total, rng.randrange(5000))
                    await sender.send(data)
                    total += len(data)
            await client.aclose()
        assert arrived == total, f"TLS: {arrived} of {total}"


async def senders(tally, rng, over):
    """Many tasks on one batch sender; some give up; a message is whole."""
    while not over():
        left, right = await connected(tally)
        wanted, given_up = set(), set()
        received = []

        async def receive(right=right, received=received):
            async with triobatch.BufferedReceiveStream(right) as reader:
                with contextlib.suppress(*BROKEN, EOFError):
                    while True:
                        head = await reader.receive_exactly(8)
                        number, size = struct.unpack("<II", head)
                        body = await reader.receive_exactly(size)
                        assert body == pattern(number, size)
                        received.append(number)

        async def send(sender, first, wanted=wanted, given_up=given_up):
            for number in range(first, first + 20):
                size = rng.choice((0, 10, 1000, 50000))
                head = struct.pack("<II", number, size)
                message = Buffers([head, pattern(number, size)])
                with trio.move_on_after(rng.random() / 20) as scope:
                    await sender.send(message)
                    wanted.add(number)
                if scope.cancelled_caught:
                    given_up.add(number)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(receive)
            async with (
                left,
                triobatch.open_batch_sender(
                    left, max_buffered=2**16
                ) as sender,
            ):
                async with trio.open_nursery() as tasks:
                    for task in range(20):
                        tasks.start_soon(send, sender, 100 * task)
                await sender.flush()
        assert len(received) == len(set(received)), "a message came twice"
        assert set(received) == wanted, "messages are lost, or not withdrawn"
        tally["senders: messages"] += len(received)
        tally["senders: given up"] += len(given_up)


async def groups(tally, rng, over):
    """Echo to many clients from a group; some reset in the midst of it."""
    while not over():
        pairs = [await connected(tally) for _ in range(16)]

        async def serve(group):
            while True:
                batch = await group.receive_batch()
                for stream, data in batch:
                    if not data:
                        group.remove(stream)
                        await stream.aclose()
                group.send_batch_nowait(
                    [(stream, data) for stream, data in batch if data]
                )

        async def client(stream, fate):
            try:
                for _ in range(50):
                    data = pattern(0, rng.choice((4, 400, 9000)))
                    await stream.send_all(data)
                    echo = b""
                    while len(echo) < len(data):
                        part = await stream.receive_some()
                        assert part, "a group has closed a stream"
                        echo += part
                    assert echo == data
                    tally["groups: echoes"] += 1
                    if rng.random() < fate:
                        reset(stream)
                        tally["groups: resets"] += 1
                        return
            finally:
                await trio.aclose_forcefully(stream)

        async with contextlib.AsyncExitStack() as stack:
            group = await opened(
                tally,
                lambda stack=stack: stack.enter_async_context(
                    triobatch.open_stream_group()
                ),
            )
            for _, server in pairs:
                group.add(server)
            async with trio.open_nursery() as nursery:
                nursery.start_soon(serve, group)
                async with trio.open_nursery() as clients:
                    for stream, _ in pairs:
                        clients.start_soon(client, stream, 0.005)
                nursery.cancel_scope.cancel()
        for _, server in pairs:
            await trio.aclose_forcefully(server)


async def broadcasts(tally, rng, over):
    """Send to many; who is slow is cancelled, and gets the rest after it."""
    while not over():
        pairs = [await connected(tally) for _ in range(12)]
        totals = [0] * len(pairs)
        async with trio.open_nursery() as nursery:

            async def receive(index, right, totals=totals):
                totals[index] = await verify(
                    right, tally, "broadcasts", None, rng
                )

            for index, (_, right) in enumerate(pairs):
                nursery.start_soon(receive, index, right)
            total = 0
            for _ in range(10):
                data = pattern(total, rng.randrange(200000))
                result = BroadcastResult()
                with trio.move_on_after(rng.random() / 100):
                    await triobatch.broadcast(
                        [left for left, _ in pairs], data, result=result
                    )
                for delivery in result:
                    if delivery.sent < len(data):
                        tally["broadcasts: caught up"] += 1
                        await delivery.stream.send_all(data[delivery.sent :])
                total += len(data) if len(result) else 0
            for left, _ in pairs:
                await left.aclose()
        assert totals == [total] * len(pairs)
        for _, right in pairs:
            await right.aclose()


async def files(tally, rng, over):
    """Write to files up to a limit, and to a full device."""
    path = Path(tempfile.gettempdir(), f"triobatch-soak-{os.getpid()}")
    try:
        await _write_files(tally, rng, over, path)
    finally:
        # As long as there is no descriptor, a directory could not be removed.
        path.unlink(missing_ok=True)  # noqa: ASYNC240


async def _write_files(tally, rng, over, path):
    while not over():
        buffers = Buffers(pieces(rng, 0, 2**18) * 8)
        size = buffers.nbytes
        async with await opened(
            tally, partial(trio.open_file, path, "wb", buffering=0)
        ) as file:
            try:
                await buffers.write_to(file)
            except OSError as error:
                if error.errno != errno.EFBIG:
                    raise
                tally["files: too large"] += 1
        assert path.stat().st_size == size - buffers.nbytes
        tally["files: bytes"] += size - buffers.nbytes
        async with await opened(
            tally, partial(trio.open_file, "/dev/full", "wb", buffering=0)
        ) as file:
            before = buffers.nbytes
            try:
                await buffers.write_to(file)
            except OSError as error:
                if error.errno != errno.ENOSPC:
                    raise
                tally["files: disk full"] += 1
            assert buffers.nbytes == before


async def descriptors(tally, rng, over):
    """Leave none for a moment, and see that an opening says so."""
    limit, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    [listener] = await triobatch.open_tcp_listeners(0, host="127.0.0.1")
    port = listener.socket.getsockname()[1]
    async with listener:
        while not over():
            await trio.sleep(rng.random() / 5)
            # The lowest number that is free; those above stay open.
            lowest = os.dup(0)
            os.close(lowest)
            resource.setrlimit(resource.RLIMIT_NOFILE, (lowest, most))
            try:
                for opener in (
                    partial(triobatch.open_tcp_stream, "127.0.0.1", port),
                    triobatch.open_udp_socket,
                    partial(triobatch.open_tcp_listeners, 0),
                ):
                    try:
                        made = await opener()
                    except OSError:
                        tally["EMFILE"] += 1
                    else:
                        # Somebody has closed one meanwhile.
                        for one in made if isinstance(made, list) else [made]:
                            await one.aclose()
            finally:
                resource.setrlimit(resource.RLIMIT_NOFILE, (limit, most))


SINK = """
import socket, sys
sock = socket.socket(fileno=int(sys.argv[1]))
while sock.recv(2**16):
    pass
"""


async def killed_workers(tally, rng, over):
    """Send to a process that is killed; all but what it had is left."""
    while not over():
        left, right = await opened(
            tally, partial(trio.to_thread.run_sync, socket.socketpair)
        )
        process = None
        try:
            process = subprocess.Popen(  # noqa: ASYNC220 (a few milliseconds)
                [sys.executable, "-S", "-c", SINK, str(right.fileno())],
                pass_fds=[right.fileno()],
            )
        except OSError:
            tally["openings refused"] += 1
            left.close()
            continue
        finally:
            right.close()
        left.setblocking(False)
        stream = BatchSocketStream(trio.socket.from_stdlib_socket(left))

        async def kill(process=process):
            await trio.sleep(rng.random())
            process.send_signal(signal.SIGKILL)

        sent = 0
        async with stream, trio.open_nursery() as nursery:
            nursery.start_soon(kill)
            try:
                while True:
                    buffers = Buffers(pieces(rng, sent, 60000))
                    before = buffers.nbytes
                    try:
                        await stream.send_buffers(buffers)
                    finally:
                        sent += before - buffers.nbytes
            except trio.BrokenResourceError:
                tally["workers killed"] += 1
        await trio.to_thread.run_sync(process.wait)
        assert stream.statistics().bytes_sent == sent


# Each load by its name.
LOADS = {
    "streams": streams,
    "tls": tls,
    "senders": senders,
    "groups": groups,
    "broadcasts": broadcasts,
    "files": files,
    "descriptors": descriptors,
    "killed workers": killed_workers,
}


def new_random(seed, name):
    """Return the randomness of a load in a round."""
    return random.Random(f"{seed} {name}")
