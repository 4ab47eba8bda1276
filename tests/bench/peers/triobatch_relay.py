"""Relays by triobatch: ``runs``, ``batch`` or ``batch512``.

The first datagram is from where all others are to be sent on to.
"""

import sys

import trio
from measuring import answer
from triobatch_datagrams import bound


async def by_runs(sock, target):
    while True:
        # All that there is, as in C.
        async with sock.receive_runs(4 << 20) as runs:
            await sock.send_runs(runs, target)


async def by_batches(sock, target, size=64):
    while True:
        batch = await sock.receive_batch(size)
        await sock.send_many([payload for payload, _ in batch], target)


async def by_large_batches(sock, target):
    await by_batches(sock, target, 512)


async def relay(way):
    async with bound() as sock:
        answer(ready=True, port=sock.socket.getsockname()[1])
        _, target = await sock.receive()
        await way(sock, target)


if __name__ == "__main__":
    ways = {
        "runs": by_runs,
        "batch": by_batches,
        "batch512": by_large_batches,
    }
    trio.run(relay, ways[sys.argv[1]])
