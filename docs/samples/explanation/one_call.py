"""Count the system calls of a loop, and of a batch."""

from __future__ import annotations

import trio

import triobatch


async def main() -> None:
    listeners = await triobatch.open_tcp_listeners(0, host="127.0.0.1")
    address = listeners[0].socket.getsockname()
    chunks = [b"frame %03d\n" % number for number in range(64)]
    async with (
        listeners[0],
        await triobatch.open_tcp_stream(*address) as one_by_one,
        await triobatch.open_tcp_stream(*address) as at_once,
    ):
        for chunk in chunks:
            await one_by_one.send_all(chunk)
        await at_once.send_buffers(chunks)

        print(one_by_one.statistics().send_calls, "calls of send_all")
        print(at_once.statistics().send_calls, "call of send_buffers")


trio.run(main)
