"""A batch of datagrams sent, and received in the same process.

small_batches.py WAY    nowait, awaited, qh3, stdlib or trio
"""

import sys

import trio
from datagram_measuring import SIZE, bound_socket
from measuring import Stopwatch, answer, requests

from triobatch import DatagramSocket

# Of what one recvfrom(2) has room for: what comes is known to be small.
ROOM = 2048


def payloads_of(request):
    """Return payloads, each one unlike the others."""
    return [bytes([i]) * SIZE for i in range(int(request.options["batch"]))]


def report(request, watch, payloads, arrived, received):
    """Answer how many have arrived, and what the last batch of them was."""
    wrong = sum(
        data != payload
        for (data, _), payload in zip(received, payloads, strict=True)
    )
    answer(
        **watch,
        count=request.count,
        datagrams=arrived,
        bytes=request.count * sum(len(data) for data, _ in received),
        wrong=wrong,
    )


def measure(near, far, address, exchange):
    """Measure ``exchange``, a function that sends and receives a batch."""
    for request in requests():
        payloads = payloads_of(request)
        arrived = 0
        watch = Stopwatch()
        for _ in range(request.count):
            received = exchange(near, far, payloads, address)
            arrived += len(received)
        report(request, watch.read(), payloads, arrived, received)


async def measure_async(near, far, address, exchange):
    """Measure ``exchange``, an async function, in the same way."""
    for request in requests():
        payloads = payloads_of(request)
        arrived = 0
        watch = Stopwatch()
        for _ in range(request.count):
            received = await exchange(near, far, payloads, address)
            arrived += len(received)
        report(request, watch.read(), payloads, arrived, received)


def exchange_nowait(near, far, payloads, address):
    near.send_many_nowait(payloads, address)
    received = far.receive_batch_nowait()
    while len(received) < len(payloads):
        received += far.receive_batch_nowait()
    return received


async def exchange_awaited(near, far, payloads, address):
    await near.send_many(payloads, address)
    received = await far.receive_batch()
    while len(received) < len(payloads):
        received += await far.receive_batch()
    return received


def exchange_qh3(near, far, payloads, address):
    sent = near.send(payloads, address)
    while sent < len(payloads):
        sent += near.send(payloads[sent:], address)
    received = far.recv()
    while len(received) < len(payloads):
        received += far.recv()
    return received


def exchange_stdlib(near, far, payloads, address):
    for payload in payloads:
        near.sendto(payload, address)
    return [far.recvfrom(ROOM) for _ in payloads]


async def exchange_trio(near, far, payloads, address):
    for payload in payloads:
        await near.sendto(payload, address)
    return [await far.recvfrom(ROOM) for _ in payloads]


async def measure_nowait(near, far, address):
    measure(near, far, address, exchange_nowait)


def main(way):
    near, far = bound_socket(), bound_socket()
    address = far.getsockname()
    if way == "stdlib":
        measure(near, far, address, exchange_stdlib)
        return
    near.setblocking(False)
    far.setblocking(False)
    if way == "qh3":
        from qh3._hazmat import UdpSocketState  # noqa: PLC0415 (it alone)

        states = [UdpSocketState(sock.fileno()) for sock in (near, far)]
        measure(*states, address, exchange_qh3)
        return
    ours = [trio.socket.from_stdlib_socket(sock) for sock in (near, far)]
    if way == "trio":
        trio.run(measure_async, *ours, address, exchange_trio)
        return
    batching = [DatagramSocket(sock) for sock in ours]
    if way == "nowait":
        trio.run(measure_nowait, *batching, address)
    else:
        trio.run(measure_async, *batching, address, exchange_awaited)


if __name__ == "__main__":
    main(sys.argv[1])
