"""A deadline passes within a batch; the queue holds what was not sent."""

from __future__ import annotations

import os
import tempfile

import trio

import triobatch


async def main() -> None:
    with tempfile.TemporaryDirectory() as directory:
        # Over Unix sockets, which lose nothing: a full receiver is waited
        # for.
        path = os.path.join(directory, "receiver")
        receiver = await triobatch.open_unix_datagram_socket(path)
        sender = await triobatch.open_unix_datagram_socket(path + ".sender")
        async with receiver, sender:
            numbers = [(b"%d" % number, path) for number in range(2000)]
            batch = triobatch.Datagrams(numbers)
            received: list[bytes] = []
            while batch:
                with trio.move_on_after(0.05) as deadline:
                    await sender.send_batch(batch)
                if deadline.cancelled_caught and not received:
                    print("some are left:", 0 < len(batch) < 2000)
                received += [
                    payload
                    for payload, _ in await receiver.receive_batch(2000)
                ]
            expected = [payload for payload, _ in numbers]
            print("each came once, in order:", received == expected)


trio.run(main)
