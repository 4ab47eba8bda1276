"""A UDP server, step 2: a dictionary that answers questions."""

from __future__ import annotations

import functools
import sys

import trio

import triobatch

PRICES = {b"apple": b"3", b"pear": b"4"}


def answer(question: bytes) -> bytes | None:
    """Return the answer to a question, or None if it is none."""
    if not question.startswith(b"price "):
        return None
    name = question.removeprefix(b"price ").strip()
    return PRICES.get(name, b"not sold here")


async def handle(
    batch: list[tuple[bytes, triobatch.Address]],
    sender: triobatch.DatagramBatchSender,
) -> None:
    answers = [(answer(question), address) for question, address in batch]
    await sender.send_batch(
        (payload, address)
        for payload, address in answers
        if payload is not None
    )


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
            questions = [b"price apple", b"\0garbage", b"price plum"]
            await client.send_many(questions)
            for _ in range(2):
                payload, _ = await client.receive()
                print("answered:", payload)
        nursery.cancel_scope.cancel()


trio.run(main)
