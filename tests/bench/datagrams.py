"""Batches of datagrams against what a good program does without them.

    python tests/bench/datagrams.py [ROUNDS]

Loopback, 1200 bytes a datagram, and a second process that drains the sends
with GRO. The contestants take turns within a round; a line shows the medians
of the rounds in nanoseconds a datagram, their ratio, and what is promised.
"""

import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import trio

from triobatch._datagram_socket import DatagramSocket

SIZE = 1200
BATCH = 64
RCVBUFFORCE = 33
SOURCE = Path(__file__).with_suffix(".c")

rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 9
spent = {}


def note(name, seconds, datagrams):
    spent.setdefault(name, []).append(seconds / datagrams * 1e9)


def note_c(name, *command):
    note(name, float(subprocess.check_output(command)) / 1e9, 1)


def trio_socket(port=0, room=8 << 20):
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.setblocking(False)
    sock.setsockopt(socket.SOL_SOCKET, RCVBUFFORCE, room)
    sock.bind(("127.0.0.1", port))
    return trio.socket.from_stdlib_socket(sock)


async def sends(program, port):
    """Measure one round of each way to send."""
    target = ("127.0.0.1", port)
    payloads = [bytes(SIZE) for _ in range(BATCH)]
    data = bytes(SIZE * 54 * 16)
    plain = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    plain.connect(target)
    # Nobody reads these: the kernel drops what their buffers do not hold.
    others = [trio_socket(room=2304) for _ in range(BATCH)]
    pairs = [
        (payload, other.getsockname())
        for payload, other in zip(payloads, others, strict=True)
    ]
    with trio_socket() as each, trio_socket() as batched, plain:
        sock = DatagramSocket(batched)
        for _ in range(rounds):
            start = time.perf_counter()
            for _ in range(10):
                for payload in payloads:
                    await each.sendto(payload, target)
            note("trio sendto", time.perf_counter() - start, 10 * BATCH)
            start = time.perf_counter()
            for _ in range(30):
                for payload in payloads:
                    plain.send(payload)
            note("plain send", time.perf_counter() - start, 30 * BATCH)
            start = time.perf_counter()
            for _ in range(300):
                await sock.send_many(payloads, target)
            note("send_many", time.perf_counter() - start, 300 * BATCH)
            start = time.perf_counter()
            for _ in range(30):
                await sock.send_segments(data, SIZE, target)
            note("send_segments", time.perf_counter() - start, 30 * 54 * 16)
            note_c("C UDP_SEGMENT", program, "send", str(port), "480")
            start = time.perf_counter()
            for _ in range(10):
                for payload, address in pairs:
                    await each.sendto(payload, address)
            note("trio sendto 64 peers", time.perf_counter() - start, 640)
            start = time.perf_counter()
            for _ in range(30):
                await sock.send_batch(pairs)
            note("send_batch 64 peers", time.perf_counter() - start, 1920)
    for other in others:
        other.close()


async def receives(program):
    """Measure one round of each way to receive what is there already."""
    with trio_socket() as one, trio_socket() as many, trio_socket() as feed:
        sender = DatagramSocket(feed)
        sock = DatagramSocket(many)
        data = bytes(SIZE * 54 * 8)
        for _ in range(rounds):
            used = 0.0
            for _ in range(4):
                await sender.send_segments(data, SIZE, one.getsockname())
                start = time.perf_counter()
                for _ in range(54 * 8):
                    await one.recvfrom(65536)
                used += time.perf_counter() - start
            note("trio recvfrom", used, 4 * 54 * 8)
            used = 0.0
            for _ in range(20):
                await sender.send_segments(data, SIZE, many.getsockname())
                start = time.perf_counter()
                count = 0
                while count < 54 * 8:
                    count += len(await sock.receive_batch())
                used += time.perf_counter() - start
            note("receive_batch", used, 20 * 54 * 8)
            note_c("C recvmmsg, GRO", program, "receive", "40")


def line(slow, fast, promise, *, at_most=False):
    medians = [statistics.median(spent[name]) for name in (slow, fast)]
    ratio = medians[0] / medians[1]
    met = ratio <= promise if at_most else ratio >= promise
    print(
        f"{slow:>22} {medians[0]:8.0f}  {fast:>20} {medians[1]:8.0f}"
        f"  {ratio:6.2f}x, promised {'<=' if at_most else '>='} {promise}x"
        f"{'' if met else '  MISSED'}"
    )


def main():
    with tempfile.TemporaryDirectory() as directory:
        program = os.path.join(directory, "datagrams")
        subprocess.check_call(
            ["cc", "-O2", "-D_GNU_SOURCE", str(SOURCE), "-o", program]
        )
        drain = subprocess.Popen([program, "drain"], stdout=subprocess.PIPE)
        try:
            port = int(drain.stdout.readline())
            trio.run(sends, program, port)
            trio.run(receives, program)
        finally:
            drain.kill()
            drain.communicate()
    print("nanoseconds a datagram, medians")
    line("trio sendto", "send_many", 35)
    line("plain send", "send_many", 8)
    line("send_segments", "C UDP_SEGMENT", 1.5, at_most=True)
    line("trio sendto 64 peers", "send_batch 64 peers", 4)
    line("trio recvfrom", "receive_batch", 8)
    line("receive_batch", "C recvmmsg, GRO", 3, at_most=True)


if __name__ == "__main__":
    main()
