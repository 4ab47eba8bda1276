"""A thousand hours of a UDP service, with a bad network, in some seconds."""

from __future__ import annotations

import sys

import trio

import triobatch
from triobatch.testing import NetworkConditions, SimulatedNetwork, simulate

SERVER = ("10.0.0.1", 5353)


# The program under test. Nothing in it knows of the simulation: in production
# the sockets are those of triobatch.open_udp_socket().


async def count_once(
    sock: triobatch.AbstractDatagramSocket,
    *,
    task_status: trio.TaskStatus[object] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Count what clients ask to have counted, each request once."""
    totals: dict[triobatch.Address, int] = {}
    last: dict[triobatch.Address, int] = {}

    async def handler(
        datagrams: list[tuple[bytes, triobatch.Address]],
        sender: triobatch.DatagramBatchSender,
    ) -> None:
        answers = []
        for request, address in datagrams:
            if int(request) > last.get(address, 0):
                # Not one that was sent again, or doubled, or late.
                last[address] = int(request)
                totals[address] = totals.get(address, 0) + 1
            answers.append((request + b"=%d" % totals[address], address))
        await sender.send_batch(answers)

    await triobatch.serve_datagrams(handler, [sock], task_status=task_status)


async def ask(sock: triobatch.AbstractDatagramSocket, number: int) -> int:
    """Ask until there is an answer to this request."""
    request = b"%d" % number
    while True:
        await sock.send(request)
        with trio.move_on_after(2):
            while True:
                answer, _ = await sock.receive()
                name, _, total = answer.partition(b"=")
                # Others are late, of requests that were sent twice.
                if name == request:
                    return int(total)


# The test of it.


async def thousand_hours(network: SimulatedNetwork) -> int:
    """Let a client ask once in a while; return how often it did."""
    server = network.open_socket(SERVER)
    client = network.open_socket(("10.0.0.2", 0), remote_address=SERVER)
    asked = 0
    async with trio.open_nursery() as nursery:
        await nursery.start(count_once, server)
        while trio.current_time() < 1000 * 3600:
            asked += 1
            total = await ask(client, asked)
            assert total == asked, f"request {asked} made it {total}"
            await trio.sleep(2 * 3600 * network.random.random())
        nursery.cancel_scope.cancel()
    return asked


CONDITIONS = NetworkConditions(
    delay=0.05, jitter=0.1, loss=0.2, duplication=0.1
)

if __name__ == "__main__":
    # A seed that has failed is given again, to see the same once more.
    seed = int(sys.argv[1]) if len(sys.argv) > 1 else None
    asked = simulate(thousand_hours, seed=seed, conditions=CONDITIONS)
    print("each request was counted once:", asked > 500)
