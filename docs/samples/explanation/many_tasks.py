"""Answer from many tasks, on one connection, in few system calls."""

from __future__ import annotations

import trio

import triobatch


async def answer(number: int, sender: triobatch.BatchSender) -> None:
    await trio.lowlevel.checkpoint()  # a database, say
    await sender.send(b"answer %d\n" % number)


async def main() -> None:
    listeners = await triobatch.open_tcp_listeners(0, host="127.0.0.1")
    address = listeners[0].socket.getsockname()
    async with (
        listeners[0],
        await triobatch.open_tcp_stream(*address) as client,
        await listeners[0].accept() as stream,
    ):
        async with (
            triobatch.open_batch_sender(stream) as sender,
            trio.open_nursery() as nursery,
        ):
            for number in range(1000):
                nursery.start_soon(answer, number, sender)
        # The block has ended: everything is with the kernel.
        counts = sender.statistics()
        print(counts.messages, "messages")
        assert counts.batches < 50
        assert not sender.unsent

        await stream.send_eof()
        received = b"".join([piece async for piece in client])
        print(received.count(b"\n"), "arrived")


trio.run(main)
