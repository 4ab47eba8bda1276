"""Memory with AnyIO on Trio: ``anyio_memory.py idle PORT``."""

import sys

import anyio
import anyio.lowlevel
from anyio.abc import SocketAttribute
from measuring import requests
from memory_measuring import LOOPBACK, Growth, crowds, greet, raise_limit


async def idle(port):
    """Measure what connections take, each with a task that waits."""
    raise_limit()
    served = []

    async def handle(stream):
        served.append(stream)
        await stream.receive()

    async def receive_udp():
        udp = await anyio.create_udp_socket(local_host=LOOPBACK)
        greet((LOOPBACK, udp.extra(SocketAttribute.local_port)))
        await udp.receive()
        served.append(udp)
        await udp.receive()

    async def reach(count):
        while len(served) < count:
            await anyio.lowlevel.checkpoint()

    listener = await anyio.create_tcp_listener(local_host=LOOPBACK)
    own_port = listener.extra(SocketAttribute.local_port)
    async with anyio.create_task_group() as group:
        group.start_soon(listener.serve, handle)
        for request in requests():
            growth = Growth()
            before = len(served)
            if request.case == "tcp":
                for there in crowds(port, own_port, request.count):
                    await reach(before + there)
            else:
                for _ in range(request.count):
                    group.start_soon(receive_udp)
                await reach(before + request.count)
            await anyio.wait_all_tasks_blocked()
            growth.report(request.count)
        group.cancel_scope.cancel()


if __name__ == "__main__":
    anyio.run(idle, int(sys.argv[2]), backend="trio")
