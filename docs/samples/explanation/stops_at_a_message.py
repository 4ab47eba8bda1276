"""Leave a batch sender while the peer does not read."""

from __future__ import annotations

import trio

import triobatch


async def main() -> None:
    listeners = await triobatch.open_tcp_listeners(0, host="127.0.0.1")
    address = listeners[0].socket.getsockname()
    async with (
        listeners[0],
        await triobatch.open_tcp_stream(*address) as stream,
        await listeners[0].accept(),
    ):
        accepted = 0
        with trio.move_on_after(0.1):
            async with triobatch.open_batch_sender(
                stream, grace=0.1
            ) as sender:
                while True:
                    await sender.send(bytes(100_000))
                    accepted += 100_000
        sent = stream.statistics().bytes_sent
        left = len(sender.unfinished) + sum(map(len, sender.unsent))
        assert sent + left == accepted
        print("each byte is either sent, or in hand")
        # Nobody knows of some only where the stream cannot tell: TLS.
        assert not sender.uncertain


trio.run(main)
