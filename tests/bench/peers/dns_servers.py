"""The DNS server of the examples: ``batches``, ``wildcard`` or ``plain``."""

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


async def wildcard(server):
    await batches(server, "")


async def batches(server, host=LOOPBACK):
    async with trio.open_nursery() as nursery:

        async def serve(task_status):
            await triobatch.serve_udp(
                server.serve_batch, 0, host=host, task_status=task_status
            )

        udp, *_ = await nursery.start(serve)
        answer(ready=True, port=udp.socket.getsockname()[1])


async def plain(server):
    with trio.socket.socket(type=trio.socket.SOCK_DGRAM) as sock:
        await sock.bind((LOOPBACK, 0))
        answer(ready=True, port=sock.getsockname()[1])
        await server.serve_plain(sock)


if __name__ == "__main__":
    zone = dns.zone.from_text(ZONE, relativize=False)
    ways = {"batches": batches, "wildcard": wildcard, "plain": plain}
    trio.run(ways[sys.argv[1]], Server(Answers(zone)))
