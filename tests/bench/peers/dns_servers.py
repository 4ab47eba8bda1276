"""The DNS server of the examples: ``dns_servers.py batches|plain``."""

import sys
from pathlib import Path

import dns.zone
import trio
from measuring import answer

import triobatch

sys.path.append(str(Path(__file__).resolve().parents[3] / "examples"))
from dns_answers import Answers
from dns_server import ZONE, Server

LOOPBACK = "127.0.0.1"


async def batches(server):
    async with trio.open_nursery() as nursery:

        async def serve(task_status):
            await triobatch.serve_udp(
                server.serve_batch, 0, host=LOOPBACK, task_status=task_status
            )

        (udp,) = await nursery.start(serve)
        answer(ready=True, port=udp.socket.getsockname()[1])


async def plain(server):
    with trio.socket.socket(type=trio.socket.SOCK_DGRAM) as sock:
        await sock.bind((LOOPBACK, 0))
        answer(ready=True, port=sock.getsockname()[1])
        await server.serve_plain(sock)


if __name__ == "__main__":
    zone = dns.zone.from_text(ZONE, relativize=False)
    ways = {"batches": batches, "plain": plain}
    trio.run(ways[sys.argv[1]], Server(Answers(zone)))
