"""Datagrams by AnyIO, on Trio."""

import sys

import anyio
from datagram_measuring import (
    LOOPBACK,
    make_room,
    receivings,
    sendings,
)
from measuring import answer


async def send(port):
    connected = await anyio.create_connected_udp_socket(LOOPBACK, port)
    free = await anyio.create_udp_socket(local_host=LOOPBACK)
    for batch, count, measurement in sendings(port):
        measurement.begin()
        for _ in range(count):
            if batch.one_peer:
                for payload in batch.payloads:
                    await connected.send(payload)
            else:
                for payload, address in batch.pairs:
                    await free.sendto(payload, *address)
        measurement.end()


async def bound():
    udp = await anyio.create_udp_socket(local_host=LOOPBACK)
    sock = udp.extra(anyio.abc.SocketAttribute.raw_socket)
    make_room(sock)
    return udp, udp.extra(anyio.abc.SocketAttribute.local_port)


async def receive(port):
    udp, own = await bound()
    for measurement in receivings(port, own):
        for _ in measurement.blocks:
            measurement.begin_block()
            for _ in range(measurement.block):
                payload, _address = await udp.receive()
            measurement.end_block()
        measurement.report(len(payload))


async def echo():
    udp, own = await bound()
    answer(ready=True, port=own)
    async for payload, (host, port) in udp:
        await udp.sendto(payload, host, port)


if __name__ == "__main__":
    role, *ports = sys.argv[1:]
    roles = {"send": send, "receive": receive, "echo": echo}
    anyio.run(roles[role], *map(int, ports), backend="trio")
