"""Datagrams by triobatch."""

import functools
import sys

import trio
from datagram_measuring import (
    LOOPBACK,
    SIZE,
    bound_socket,
    receivings,
    sendings,
)
from measuring import answer

from triobatch import DatagramSocket, open_udp_socket


async def send(port):
    async with (
        await open_udp_socket(remote_address=(LOOPBACK, port)) as connected,
        await open_udp_socket(local_address=(LOOPBACK, 0)) as free,
    ):
        for batch, count, measurement in sendings(port):
            one = functools.partial(connected.send_many, batch.payloads)
            if batch.case == "many":
                one = functools.partial(free.send_batch, batch.pairs)
            elif batch.case == "segments":
                one = functools.partial(
                    connected.send_segments, batch.joined, SIZE
                )
            measurement.begin()
            for _ in range(count):
                await one()
            measurement.end()


async def receive_messages(port):
    fields = frozenset({"local_address", "ecn"})
    await receive(
        port,
        lambda sock, count: sock.receive_messages(count, fields=fields),
    )


async def receive(port, receive_batch=DatagramSocket.receive_batch):
    async with bound() as sock:
        own = sock.socket.getsockname()[1]
        for measurement in receivings(port, own):
            here = 0
            for _ in measurement.blocks:
                measurement.begin_block()
                while here < measurement.block:
                    datagrams = await receive_batch(sock, measurement.batch)
                    here += len(datagrams)
                measurement.end_block()
                here -= measurement.block
            measurement.report(len(datagrams[-1][0]))


async def echo():
    async with bound() as sock:
        answer(ready=True, port=sock.socket.getsockname()[1])
        while True:
            await sock.send_batch(await sock.receive_batch())


def bound():
    plain = bound_socket()
    plain.setblocking(False)
    return DatagramSocket(trio.socket.from_stdlib_socket(plain))


if __name__ == "__main__":
    role, *ports = sys.argv[1:]
    roles = {
        "send": send,
        "receive": receive,
        "messages": receive_messages,
        "echo": echo,
    }
    trio.run(roles[role], *map(int, ports))
