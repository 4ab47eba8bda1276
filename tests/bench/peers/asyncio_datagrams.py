"""Datagrams by asyncio's transports: ``asyncio_datagrams.py LOOP ROLE ...``.

LOOP is ``asyncio`` or ``uvloop``.
"""

import asyncio
import sys

from datagram_measuring import (
    LOOPBACK,
    bound_socket,
    receivings,
    sendings,
)
from measuring import answer


class Sender(asyncio.DatagramProtocol):
    """Knows whether there is room."""

    def __init__(self):
        self.room = asyncio.Event()
        self.room.set()

    def pause_writing(self):
        self.room.clear()

    def resume_writing(self):
        self.room.set()


class Receiver(asyncio.DatagramProtocol):
    """Counts up to what is wanted."""

    left = 0

    async def receive(self, count):
        """Return when so many more have come."""
        self.done = asyncio.Event()
        self.left += count
        if self.left > 0:
            await self.done.wait()

    def datagram_received(self, data, address):
        self.left -= 1
        if self.left == 0:
            self.size = len(data)
            self.done.set()


class Echo(asyncio.DatagramProtocol):
    """Sends back."""

    def connection_made(self, transport):
        self.transport = transport

    def datagram_received(self, data, address):
        self.transport.sendto(data, address)


async def send(port):
    loop = asyncio.get_running_loop()
    connected, connected_room = await loop.create_datagram_endpoint(
        Sender, remote_addr=(LOOPBACK, port)
    )
    free, free_room = await loop.create_datagram_endpoint(
        Sender, sock=bound_socket()
    )
    for batch, count, measurement in sendings(port):
        measurement.begin()
        for _ in range(count):
            if batch.one_peer:
                for payload in batch.payloads:
                    connected.sendto(payload)
                await connected_room.room.wait()
            else:
                for payload, address in batch.pairs:
                    free.sendto(payload, address)
                await free_room.room.wait()
        measurement.end()


async def receive(port):
    loop = asyncio.get_running_loop()
    sock = bound_socket()
    own = sock.getsockname()[1]
    _, receiver = await loop.create_datagram_endpoint(Receiver, sock=sock)
    for measurement in receivings(port, own):
        for _ in measurement.blocks:
            measurement.begin_block()
            await receiver.receive(measurement.block)
            measurement.end_block()
        measurement.report(receiver.size)


async def echo():
    loop = asyncio.get_running_loop()
    sock = bound_socket()
    own = sock.getsockname()[1]
    await loop.create_datagram_endpoint(Echo, sock=sock)
    answer(ready=True, port=own)
    await loop.create_future()


if __name__ == "__main__":
    name, role, *ports = sys.argv[1:]
    if name == "uvloop":
        import uvloop as library
    else:
        library = asyncio
    roles = {"send": send, "receive": receive, "echo": echo}
    with asyncio.Runner(loop_factory=library.new_event_loop) as runner:
        runner.run(roles[role](*map(int, ports)))
