"""A UDP server, step 6: a test of it, on a network that loses."""

from __future__ import annotations

import itertools

import trio
import trio.testing

import triobatch
from triobatch.testing import memory_datagram_pair


async def ask(
    sock: triobatch.AbstractDatagramSocket, question: bytes
) -> bytes:
    """Ask until there is an answer; see step 4."""
    patience = 0.1
    while True:
        await sock.send(question)
        with trio.move_on_after(patience):
            payload, _ = await sock.receive()
            return payload
        patience *= 2


async def serve(sock: triobatch.AbstractDatagramSocket) -> None:
    async for batch in sock.batches():
        await sock.send_batch(
            [(payload.upper(), address) for payload, address in batch],
            errors="ignore",
        )


async def test_it_asks_again_until_it_is_heard() -> None:
    lose_three_of_four = itertools.cycle([[], [], [], [b"are you there?"]])
    client, server = memory_datagram_pair(
        link=lambda data: (
            next(lose_three_of_four) if data.islower() else [data]
        )
    )
    async with client, server, trio.open_nursery() as nursery:
        nursery.start_soon(serve, server)
        start = trio.current_time()
        answer = await ask(client, b"are you there?")
        print(f"answered {answer!r} after {trio.current_time() - start:.1f} s")
        nursery.cancel_scope.cancel()


# pytest-trio would run it; its autojump_clock fixture is this clock.
trio.run(
    test_it_asks_again_until_it_is_heard,
    clock=trio.testing.MockClock(autojump_threshold=0),
)
