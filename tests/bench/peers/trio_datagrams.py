"""Datagrams by Trio's own sockets."""

import sys

import trio
from datagram_measuring import (
    LOOPBACK,
    bound_socket,
    receivings,
    sendings,
)
from measuring import answer


async def send(port):
    free = bound()
    connected = bound()
    await connected.connect((LOOPBACK, port))
    for batch, count, measurement in sendings(port):
        measurement.begin()
        for _ in range(count):
            if batch.one_peer:
                for payload in batch.payloads:
                    await connected.send(payload)
            else:
                for payload, address in batch.pairs:
                    await free.sendto(payload, address)
        measurement.end()


async def receive(port):
    sock = bound()
    own = sock.getsockname()[1]
    for measurement in receivings(port, own):
        for _ in measurement.blocks:
            measurement.begin_block()
            for _ in range(measurement.block):
                payload, _address = await sock.recvfrom(65536)
            measurement.end_block()
        measurement.report(len(payload))


async def echo():
    sock = bound()
    answer(ready=True, port=sock.getsockname()[1])
    while True:
        payload, address = await sock.recvfrom(65536)
        await sock.sendto(payload, address)


def bound():
    plain = bound_socket()
    plain.setblocking(False)
    return trio.socket.from_stdlib_socket(plain)


if __name__ == "__main__":
    role, *ports = sys.argv[1:]
    roles = {"send": send, "receive": receive, "echo": echo}
    trio.run(roles[role], *map(int, ports))
