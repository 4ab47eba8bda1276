"""Memory with asyncio: ``asyncio_memory.py LOOP idle PORT``, or ``queue``.

LOOP is ``asyncio`` or ``uvloop``.
"""

import asyncio
import sys

from measuring import requests
from memory_measuring import (
    LOOPBACK,
    Growth,
    crowds,
    full_socket,
    greet,
    messages,
    raise_limit,
)


class Receiver(asyncio.DatagramProtocol):
    """Notes its first datagram."""

    def __init__(self, served):
        self.served = served

    def datagram_received(self, data, address):
        self.served.append(self)


async def idle(port):
    """Measure what connections take, each with a task that waits."""
    raise_limit()
    loop = asyncio.get_running_loop()
    served = []

    async def handle(reader, writer):
        served.append(writer)
        await reader.read(65536)

    async def reach(count):
        while len(served) < count:  # noqa: ASYNC110 (a turn of the loop)
            await asyncio.sleep(0)

    server = await asyncio.start_server(handle, LOOPBACK, 0)
    own_port = server.sockets[0].getsockname()[1]
    transports = []
    for request in requests():
        growth = Growth()
        before = len(served)
        if request.case == "tcp":
            for there in crowds(port, own_port, request.count):
                await reach(before + there)
        else:
            for _ in range(request.count):
                transport, _ = await loop.create_datagram_endpoint(
                    lambda: Receiver(served), local_addr=(LOOPBACK, 0)
                )
                transports.append(transport)
                greet(transport.get_extra_info("sockname"))
            await reach(before + request.count)
        growth.report(request.count)


async def queue():
    """Queue for a connection whose peer does not read."""
    loop = asyncio.get_running_loop()
    sock, listener = full_socket()
    transport, _ = await loop.create_connection(asyncio.Protocol, sock=sock)
    with listener:
        for request in requests():
            growth = Growth()
            for message in messages(request):
                transport.write(message)
            # What a loop puts off, it does now.
            await asyncio.sleep(0.01)
            growth.report(request.count)
        transport.abort()


if __name__ == "__main__":
    name, role, *ports = sys.argv[1:]
    if name == "uvloop":
        import uvloop as library
    else:
        library = asyncio
    roles = {"idle": idle, "queue": queue}
    with asyncio.Runner(loop_factory=library.new_event_loop) as runner:
        runner.run(roles[role](*map(int, ports)))
