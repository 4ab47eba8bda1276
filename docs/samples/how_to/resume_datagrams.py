"""A deadline passes within a batch; the queue holds what was not sent."""

from __future__ import annotations

import os
import tempfile

import trio

import triobatch


async def main() -> None:
    with tempfile.TemporaryDirectory() as directory:
        # Unix sockets lose nothing: a receiver that is full is waited for.
        path = os.path.join(directory, "receiver")
        receiver = await triobatch.open_unix_datagram_socket(path)
        sender = await triobatch.open_unix_datagram_socket(path + ".sender")
        async with receiver, sender, trio.open_nursery() as nursery:
            numbers = [b"%d" % number for number in range(2000)]
            batch = triobatch.Datagrams((number, path) for number in numbers)
            with trio.move_on_after(0.1):
                await sender.send_batch(batch)
            print("some are left:", 0 < len(batch) < 2000)
            nursery.start_soon(sender.send_batch, batch)
            received: list[bytes] = []
            while len(received) < len(numbers):
                received += [
                    payload for payload, _ in await receiver.receive_batch()
                ]
            print("each came once, in order:", received == numbers)


trio.run(main)
