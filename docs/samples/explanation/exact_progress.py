"""Send to a peer that does not read, give up, and go on later."""

from __future__ import annotations

import trio

import triobatch


async def main() -> None:
    listeners = await triobatch.open_tcp_listeners(0, host="127.0.0.1")
    address = listeners[0].socket.getsockname()
    async with (
        listeners[0],
        await triobatch.open_tcp_stream(*address) as sender,
        await listeners[0].accept() as receiver,
    ):
        message = bytes(range(256)) * 100_000
        chunks = triobatch.Buffers([b"size 25600000\n", message])

        with trio.move_on_after(0.1):
            await sender.send_buffers(chunks)
        sent = sender.statistics().bytes_sent
        assert 0 < sent == 14 + len(message) - chunks.nbytes
        print("gave up, and know what is left to send")

        async with trio.open_nursery() as nursery:

            @nursery.start_soon
            async def go_on() -> None:
                await sender.send_buffers(chunks)
                await sender.send_eof()

            received = b"".join([piece async for piece in receiver])
        assert received == b"size 25600000\n" + message
        print("all of it has arrived, once")


trio.run(main)
