"""A UDP server, step 4: a client that asks again."""

from __future__ import annotations

import functools
import itertools

import trio

import triobatch

TRIES = 4
FIRST_PATIENCE = 0.1  # seconds; doubled with each try

_numbers = itertools.count()


class NoAnswerError(Exception):
    """The server has not answered any of the tries."""


async def ask(sock: triobatch.DatagramSocket, question: bytes) -> bytes:
    """Ask the server that the socket is connected to."""
    number = b"%d " % next(_numbers)
    for attempt in range(TRIES):
        await sock.send(number + question)
        with trio.move_on_after(FIRST_PATIENCE * 2**attempt):
            while True:
                payload, _ = await sock.receive()
                # A late answer to an earlier question has another number.
                if payload.startswith(number):
                    return payload.removeprefix(number)
    raise NoAnswerError(f"no answer to {question!r} in {TRIES} tries")


# Try it: a server that hears only every third datagram.
heard = itertools.count()


async def handle(
    batch: list[tuple[bytes, triobatch.Address]],
    sender: triobatch.DatagramBatchSender,
) -> None:
    for payload, address in batch:
        if next(heard) % 3 == 2:
            number, _, question = payload.partition(b" ")
            await sender.send(number + b" " + question.upper(), address)


async def main() -> None:
    async with trio.open_nursery() as nursery:
        serve = functools.partial(triobatch.serve_udp, host="127.0.0.1")
        [sock] = await nursery.start(serve, handle, 0)
        client = await triobatch.open_udp_socket(
            remote_address=sock.local_address
        )
        async with client:
            print(await ask(client, b"are you there?"))
            print("datagrams sent:", client.statistics().datagrams_sent)
        nursery.cancel_scope.cancel()


trio.run(main)
