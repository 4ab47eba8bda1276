"""Memory does not grow with the datagrams that pass through."""

import gc
import socket
import subprocess
import sys

import pytest
import trio
from receive_buffer import needs_room
from traced import tracemalloc

from triobatch._core.arena import Arena

# In a process of its own, where nothing else allocates. It prints how much
# larger the process is than after the first tenth, in KiB.
PROGRAM = """
import contextlib, resource, socket, sys
import trio
from triobatch import Datagrams, DatagramErrorGroup, DatagramSocket

ROUNDS = int(sys.argv[1])
SIZES = [1200, 1200, 0, 64, 1200, 9000]

def bound(host="127.0.0.1"):
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.setblocking(False)
    sock.bind((host, 0))
    # The first is SO_RCVBUFFORCE.
    for option in 33, socket.SO_RCVBUF:
        with contextlib.suppress(PermissionError):
            sock.setsockopt(socket.SOL_SOCKET, option, 1 << 22)
            break
    return DatagramSocket(trio.socket.from_stdlib_socket(sock))

def resident():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * resource.getpagesize() // 1024

async def receive(sock, count, messages=False):
    while count > 0:
        if messages:
            count -= len(await sock.receive_messages())
        else:
            count -= len(await sock.receive_batch())

async def main():
    sender, receiver = bound(), bound()
    target = receiver.socket.getsockname()
    equal = [bytes(1200)] * 640
    moved = 0
    for i in range(ROUNDS):
        if i == ROUNDS // 10:
            before = resident()
        await sender.send_many(equal, target)
        await receive(receiver, 640)
        await sender.send_segments(bytes(540 * 1200), 1200, target)
        await receive(receiver, 540, messages=not i % 10)
        mixed = [
            (bytes(SIZES[j % 6]), ("127.0.0.1", 0) if j % 8 == 7 else target)
            for j in range(64)
        ]
        queue = Datagrams(mixed)
        try:
            await sender.send_batch(queue)
        except DatagramErrorGroup as group:
            await receive(receiver, group.sent)
        # Peers that are new each time, as on a busy server.
        with trio.CancelScope() as scope:
            scope.cancel()
            await receiver.receive_batch()
        host = "127.%d.%d.1" % (i // 250 % 250, i % 250)
        async with bound(host) as guest:
            await guest.send_many([b"x"] * 3, target)
            await receive(receiver, 3)
            await receiver.send_batch(
                [(b"y", guest.socket.getsockname())] * 3
            )
            await receive(guest, 3)
    print(resident() - before)

trio.run(main)
"""


@needs_room
@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_three_hundred_thousand_datagrams_leave_nothing_behind():
    result = subprocess.run(
        [sys.executable, "-c", PROGRAM, "250"],
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    # A leak of one pointer a datagram would be 2 MiB.
    assert int(result.stdout) < 1024


@pytest.mark.parametrize("kind", [bytes, bytearray])
async def test_a_batch_of_large_datagrams_is_joined_piece_by_piece(
    datagram_pair, kind
):
    sender, receiver = datagram_pair
    payloads = [kind(60000)] * 200

    async def receive():
        left = len(payloads)
        while left:
            await receiver.receive()
            left -= 1

    tracemalloc.start()
    try:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(receive)
            await sender.send_many(payloads)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    # 12 MB in all.
    assert peak < 2 << 20


@pytest.mark.skipif(
    sys.implementation.name != "cpython",
    reason="counts what CPython allocates",
)
async def test_a_socket_that_has_received_nothing_is_small(make_socket):
    # What all of them share is made by the first.
    await make_socket()
    tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        kept = [await make_socket() for _ in range(16)]
        gc.collect()
        after, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    # With its share of the fixture; 10 KiB where there are columns.
    assert (after - before) / len(kept) < 6 * 1024
    with pytest.raises(trio.WouldBlock):
        kept[0].receive_batch_nowait()


async def test_columns_are_made_when_they_are_looked_at():
    arena = Arena(2, socket.AF_INET)
    assert not {"memory", "sizes"} & vars(arena).keys()
    assert arena.left == 0
    assert list(arena.sizes) == [0, 0]
    assert len(arena.memory) == 2 * arena.slot_size
    with pytest.raises(AttributeError, match=r"size$"):
        arena.size  # noqa: B018
    # What was given stays, whenever the others are made.
    given = bytearray(2)
    arena = Arena(2, socket.AF_INET, 1, given)
    assert len(arena.names) == 2 * arena.name_size
    assert arena.memory is given
