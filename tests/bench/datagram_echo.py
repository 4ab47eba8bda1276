"""An echo server of one line, against the same one on recvfrom and sendto.

    python tests/bench/datagram_echo.py [ROUNDS]

Loopback, 1200 bytes a datagram, a server a process, and a client in C. Under
load the client keeps 256 requests on their way; for the latency it sends one
a millisecond. The servers take turns within a round; a line shows the medians
of the rounds, their ratio, and what is promised.
"""

import os
import socket
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

import trio

from triobatch import DatagramSocket

RCVBUFFORCE = 33
SOURCE = Path(__file__).with_suffix(".c")
SERVERS = ("recvfrom, sendto", "batches")
PEERS = (1, 16, 64)
MILLISECONDS = "400"
PINGS = "500"


async def serve(name):
    """Echo until killed; print the port first."""
    plain = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    plain.setblocking(False)
    plain.setsockopt(socket.SOL_SOCKET, RCVBUFFORCE, 8 << 20)
    plain.bind(("127.0.0.1", 0))
    print(plain.getsockname()[1], flush=True)
    sock = trio.socket.from_stdlib_socket(plain)
    if name == "batches":
        batches = DatagramSocket(sock)
        while True:
            await batches.send_batch(await batches.receive_batch())
    while True:
        data, address = await sock.recvfrom(65536)
        await sock.sendto(data, address)


def measure(program, ports, rounds):
    """Return the numbers of each round, by what is measured and server."""
    taken = {}

    def note(what, name, number):
        taken.setdefault((what, name), []).append(number)

    for _ in range(rounds):
        for peers in PEERS:
            for name in SERVERS:
                blast = ["blast", ports[name], str(peers), MILLISECONDS]
                rate = subprocess.check_output([program, *blast])
                note(peers, name, float(rate))
        for name in SERVERS:
            ping = ["ping", ports[name], PINGS]
            median, worst = subprocess.check_output([program, *ping]).split()
            note("median", name, float(median))
            note("99th percentile", name, float(worst))
    return taken


def report(taken):
    medians = {key: statistics.median(taken[key]) for key in taken}
    print("echoes a second, and microseconds until one is back; medians")
    for what in (*PEERS, "median", "99th percentile"):
        slow, fast = (medians[what, name] for name in SERVERS)
        ratio = fast / slow
        met, promise = True, ""
        if what == 1:
            met, promise = ratio >= 5, ", promised >= 5x"
        if what == "99th percentile":
            met, promise = ratio <= 1, ", promised <= 1x"
        label = f"{what} peers" if what in PEERS else what
        print(
            f"{label:>16}  {SERVERS[0]} {slow:8.0f}"
            f"  {SERVERS[1]} {fast:8.0f}  {ratio:5.2f}x{promise}"
            f"{'' if met else '  MISSED'}"
        )


def main():
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 9
    servers, ports = [], {}
    with tempfile.TemporaryDirectory() as directory:
        program = os.path.join(directory, "datagram_echo")
        subprocess.check_call(
            ["cc", "-O2", "-D_GNU_SOURCE", str(SOURCE), "-o", program]
        )
        try:
            for name in SERVERS:
                server = subprocess.Popen(
                    [sys.executable, __file__, "serve", name],
                    stdout=subprocess.PIPE,
                    text=True,
                )
                servers.append(server)
                ports[name] = server.stdout.readline().strip()
            report(measure(program, ports, rounds))
        finally:
            for server in servers:
                server.kill()
                server.communicate()


if __name__ == "__main__":
    if sys.argv[1:2] == ["serve"]:
        trio.run(serve, sys.argv[2])
    else:
        main()
