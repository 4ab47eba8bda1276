"""Memory with Trio: ``trio_memory.py idle PORT``, ``trio_memory.py queue``.

What triobatch's driver has in common with it is here, too.
"""

import math
import sys

import trio
import trio.lowlevel
from measuring import requests
from memory_measuring import (
    LOOPBACK,
    Growth,
    crowds,
    greet,
    messages,
    raise_limit,
)
from trio.testing import wait_all_tasks_blocked


async def run_idle(port, serve_tcp, serve_udp):
    """Measure what connections take, each with a task that waits.

    Args:
      port: That of idle_peers.c.
      serve_tcp: As ``trio.serve_tcp``.
      serve_udp: Opens a UDP socket, receives one datagram, appends to the list
        that it gets, and waits for the next one.
    """
    raise_limit()
    served = []

    async def handle(stream):
        served.append(stream)
        await stream.receive_some(65536)

    async with trio.open_nursery() as nursery:
        (listener,) = await nursery.start(
            lambda task_status: serve_tcp(
                handle, 0, host=LOOPBACK, task_status=task_status
            )
        )
        own_port = listener.socket.getsockname()[1]
        for request in requests():
            growth = Growth()
            before = len(served)
            if request.case == "tcp":
                for there in crowds(port, own_port, request.count):
                    while len(served) < before + there:
                        await trio.lowlevel.checkpoint()
            else:
                for _ in range(request.count):
                    nursery.start_soon(serve_udp, served)
                while len(served) < before + request.count:
                    await trio.lowlevel.checkpoint()
            await wait_all_tasks_blocked()
            growth.report(request.count)
        nursery.cancel_scope.cancel()


async def udp(served):
    sock = trio.socket.socket(type=trio.socket.SOCK_DGRAM)
    await sock.bind((LOOPBACK, 0))
    greet(sock.getsockname())
    await sock.recvfrom(65536)
    served.append(sock)
    await sock.recvfrom(65536)


async def queue():
    kept = []
    for request in requests():
        growth = Growth()
        sending, receiving = trio.open_memory_channel(math.inf)
        for message in messages(request):
            sending.send_nowait(message)
        kept.append((sending, receiving))
        growth.report(request.count)


if __name__ == "__main__":
    if sys.argv[1] == "idle":
        trio.run(run_idle, int(sys.argv[2]), trio.serve_tcp, udp)
    else:
        trio.run(queue)
