"""The DNS server of the examples under load, with batches and without.

    python tests/bench/dns_servers.py [--rounds 7] [--seconds 2]

A C loop in this process, compiled on the spot, keeps 512 queries of several
sizes on their way to a server in another process, and counts the answers. The
two kinds of server take turns; the table shows medians.
"""

from __future__ import annotations

import argparse
import ctypes
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

import dns.message

EXAMPLES = Path(__file__).parents[2] / "examples"
NAMES = ["www", "mail", "nobody", "ns"]
WINDOW = 512
BLASTER = """
#define _GNU_SOURCE
#include <poll.h>
#include <stdint.h>
#include <sys/socket.h>
#include <time.h>
enum { BATCH = 64, ROOM = 512 };
static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}
static int send_some(int fd, char **queries, const int *sizes, int kinds,
                     int count, uint16_t *id)
{
    struct mmsghdr m[BATCH] = {0};
    struct iovec v[BATCH][2];
    uint16_t ids[BATCH];
    for (int i = 0; i < count; i++) {
        ids[i] = (*id)++;
        v[i][0] = (struct iovec){&ids[i], 2};
        v[i][1] = (struct iovec){queries[ids[i] % kinds],
                                 (size_t)sizes[ids[i] % kinds]};
        m[i].msg_hdr.msg_iov = v[i];
        m[i].msg_hdr.msg_iovlen = 2;
    }
    return sendmmsg(fd, m, (unsigned)count, 0);
}
double blast(int fd, char **queries, const int *sizes, int kinds, int window,
             double seconds)
{
    static char room[BATCH][ROOM];
    uint16_t id = 0;
    long answered = 0;
    int missing = window;
    double start = now(), end = start + seconds;
    while (now() < end) {
        while (missing > 0) {
            int sent = send_some(fd, queries, sizes, kinds,
                                 missing < BATCH ? missing : BATCH, &id);
            if (sent <= 0)
                return -1;
            missing -= sent;
        }
        struct pollfd p = {fd, POLLIN, 0};
        if (poll(&p, 1, 200) == 0) {
            missing = window;
            continue;
        }
        struct mmsghdr m[BATCH] = {0};
        struct iovec v[BATCH];
        for (int i = 0; i < BATCH; i++) {
            v[i] = (struct iovec){room[i], ROOM};
            m[i].msg_hdr.msg_iov = &v[i];
            m[i].msg_hdr.msg_iovlen = 1;
        }
        int got = recvmmsg(fd, m, BATCH, MSG_DONTWAIT, 0);
        if (got > 0) {
            answered += got;
            missing += got;
        }
    }
    return (double)answered / (now() - start);
}
"""


def compile_blaster(directory: str) -> ctypes.CDLL:
    compiler = shutil.which("cc")
    if compiler is None:
        sys.exit("this needs a C compiler")
    library = Path(directory) / "blaster.so"
    subprocess.run(
        [compiler, "-O2", "-shared", "-fPIC", "-xc", "-", "-o", library],
        input=BLASTER.encode(),
        check=True,
    )
    loaded = ctypes.CDLL(str(library))
    loaded.blast.restype = ctypes.c_double
    return loaded


def measure(blaster: ctypes.CDLL, seconds: float, *options: str) -> float:
    """Start a server, and return the answers that it gives a second."""
    wires = [
        dns.message.make_query(f"{name}.example.org", kind).to_wire()[2:]
        for name in NAMES
        for kind in ("A", "AAAA")
    ]
    command = [
        sys.executable,
        EXAMPLES / "dns_server.py",
        "127.0.0.1:0",
        *options,
    ]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, text=True
    ) as server:
        assert server.stdout is not None
        port = int(server.stdout.readline().rpartition(":")[2])
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
            client.connect(("127.0.0.1", port))
            # The first time builds the answers.
            for duration in (0.2, seconds):
                answers = blaster.blast(
                    client.fileno(),
                    (ctypes.c_char_p * len(wires))(*wires),
                    (ctypes.c_int * len(wires))(*map(len, wires)),
                    len(wires),
                    WINDOW,
                    ctypes.c_double(duration),
                )
        server.kill()
    return float(answers)


def main() -> None:
    """Measure, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--seconds", type=float, default=2)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as directory:
        blaster = compile_blaster(directory)
    ways: dict[str, tuple[str, ...]] = {
        "recvfrom and sendto": ("--plain",),
        "serve_udp": (),
    }
    figures: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(arguments.rounds):
        for name, options in ways.items():
            figures[name].append(measure(blaster, arguments.seconds, *options))
    plain = statistics.median(figures["recvfrom and sendto"])
    for name, counts in figures.items():
        median = statistics.median(counts)
        print(f"{name:22}{median:12,.0f} answers/s {median / plain:8.2f}")


if __name__ == "__main__":
    main()
