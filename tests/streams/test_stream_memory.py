"""What sending costs in memory, and more bytes than a system call takes."""

from __future__ import annotations

import mmap
import os
import socket as stdlib_socket
import subprocess
import sys
import threading
from contextlib import contextmanager

import pytest
from traced import needs_tracemalloc, tracemalloc

from triobatch import Buffers

# At most this much beyond the caller's chunks, and beyond a pointer or two a
# chunk.
_EXTRA = 2**20
_EXTRA_A_CHUNK = 16


@contextmanager
def drained(sock):
    """Read from a socket, in a thread, without allocating anything."""
    room = bytearray(2**18)

    def drain():
        while reader.recv_into(room):
            pass

    reader = stdlib_socket.socket(fileno=os.dup(sock.fileno()))
    reader.setblocking(True)
    thread = threading.Thread(target=drain)
    thread.start()
    try:
        yield
    finally:
        thread.join()
        reader.close()


def small():
    return [number.to_bytes(64, "big") for number in range(100_000)]


def small_and_huge():
    return [*[bytes(64)] * 1000, bytes(2**26), *[bytes(64)] * 1000]


def many_small_and_large():
    return [bytes(64), bytes(100_000)] * 500


def many_small_and_huge():
    # So many that the average calls for copying, the huge one as well.
    return [*small(), bytes(2**26), *small()]


@needs_tracemalloc
@pytest.mark.parametrize("make", [Buffers, list], ids=["Buffers", "list"])
@pytest.mark.parametrize(
    "make_chunks",
    [small, small_and_huge, many_small_and_large, many_small_and_huge],
)
async def test_sending_takes_little_memory(pair, make_chunks, make):
    left, right = pair
    chunks = make_chunks()
    buffers = make(chunks)
    with drained(right.socket):
        await left.send_buffers([bytes(100), bytes(2**18)])
        tracemalloc.start()
        try:
            await left.send_buffers(buffers)
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
            await left.send_eof()
    assert peak <= _EXTRA + _EXTRA_A_CHUNK * len(chunks)


@needs_tracemalloc
async def test_sending_views_takes_little_memory(pair):
    left, right = pair
    buffers = Buffers(map(bytearray, small()))
    count = len(buffers)
    with drained(right.socket):
        await left.send_buffers([bytearray(100), bytearray(2**18)])
        tracemalloc.start()
        try:
            await left.send_buffers(buffers)
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
            await left.send_eof()
    assert peak <= _EXTRA + _EXTRA_A_CHUNK * count


# What tracemalloc does not see, the kernel does.
_MEASURE = """
import mmap, os, socket, sys
import trio
from triobatch import BatchSocketStream, Buffers

def memory(field):
    with open("/proc/self/status") as status:
        for line in status:
            if line.startswith(field + ":"):
                return int(line.split()[1]) * 1024

left, right = socket.socketpair()
if os.fork() == 0:
    left.close()
    room = bytearray(2**20)
    while right.recv_into(room):
        pass
    os._exit(0)
right.close()

async def main():
    stream = BatchSocketStream(trio.socket.from_stdlib_socket(left))
    if sys.argv[1] == "small":
        chunks = [number.to_bytes(64, "big") for number in range(100_000)]
    elif sys.argv[1] == "mixed":
        chunks = [bytes(64)] * 1000 + [bytes(2**26)] + [bytes(64)] * 1000
    else:
        flags = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS
        chunks = [mmap.mmap(-1, 3 * 2**29, flags=flags)] * 2
    # Whatever the first use of anything allocates.
    await stream.send_buffers([b"x"] * 2000)
    await stream.send_buffers([bytes(2**20)] * 20)
    with open("/proc/self/clear_refs", "w") as clear:
        clear.write("5")
    before = memory("VmRSS")
    sent = await stream.send_buffers(chunks)
    assert sent == sum(map(len, chunks))
    print(len(chunks), memory("VmHWM") - before)
    await stream.aclose()

trio.run(main)
os.wait()
"""


@pytest.mark.slow
@pytest.mark.skipif(
    not os.access("/proc/self/clear_refs", os.W_OK),
    reason="the peak of memory cannot be reset here",
)
@pytest.mark.parametrize("shape", ["small", "mixed", "huge"])
def test_a_process_that_sends_hardly_grows(shape):
    result = subprocess.run(
        [sys.executable, "-c", _MEASURE, shape],
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    count, grown = map(int, result.stdout.split())
    assert grown <= _EXTRA + _EXTRA_A_CHUNK * count


@pytest.mark.slow
async def test_two_chunks_of_one_and_a_half_gib_are_sent_whole(pair):
    left, right = pair
    mib = 2**20
    mibs = 1536
    # Nearly all of it is one page of zeros.
    memory = mmap.mmap(
        -1, mibs * mib, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS
    )
    for number in range(mibs):
        memory[number * mib : number * mib + 8] = number.to_bytes(8, "big")
    matched = 0

    def receive():
        nonlocal matched
        room = bytearray(mib)
        expected = bytearray(mib)
        while reader.recv_into(room, mib, stdlib_socket.MSG_WAITALL) == mib:
            expected[:8] = (matched % mibs).to_bytes(8, "big")
            if room != expected:
                return
            matched += 1

    reader = stdlib_socket.socket(fileno=os.dup(right.socket.fileno()))
    reader.setblocking(True)
    thread = threading.Thread(target=receive)
    with memory, reader:
        thread.start()
        try:
            sent = await left.send_buffers([memory, memory])
            assert sent == 2 * mibs * mib
        finally:
            await left.aclose()
            thread.join()
    assert matched == 2 * mibs
    assert left.statistics().bytes_sent == 3 * 2**30
