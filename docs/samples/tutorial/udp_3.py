"""A UDP server, step 3: answers that have to be waited for."""

from __future__ import annotations

import functools
import sys

import trio

import triobatch

# How many batches may be worked on at a time. What comes beyond is dropped.
MAX_BUSY = 100

busy = 0


async def look_up(question: bytes) -> bytes:
    """Stand for a database, or another server."""
    await trio.sleep(0.01)
    return question.upper()


async def reply(
    question: bytes,
    address: triobatch.Address,
    sender: triobatch.DatagramBatchSender,
) -> None:
    answer = await look_up(question)
    await sender.send(answer, address)


async def handle(
    batch: list[tuple[bytes, triobatch.Address]],
    sender: triobatch.DatagramBatchSender,
) -> None:
    global busy
    if busy >= MAX_BUSY:
        return
    busy += 1
    try:
        with trio.move_on_after(1):
            async with trio.open_nursery() as nursery:
                for question, address in batch:
                    nursery.start_soon(reply, question, address, sender)
    finally:
        busy -= 1


# Try it: with a port it serves for ever, without one it talks to itself.
async def main() -> None:
    if sys.argv[1:]:
        await triobatch.serve_udp(handle, int(sys.argv[1]), host="127.0.0.1")
    async with trio.open_nursery() as nursery:
        serve = functools.partial(triobatch.serve_udp, host="127.0.0.1")
        [sock] = await nursery.start(serve, handle, 0)
        client = await triobatch.open_udp_socket(
            remote_address=sock.local_address
        )
        async with client:
            await client.send_many(b"question %d" % i for i in range(50))
            answers = [(await client.receive())[0] for _ in range(50)]
        print(len(answers), "answers, such as", min(answers))
        nursery.cancel_scope.cancel()


trio.run(main)
