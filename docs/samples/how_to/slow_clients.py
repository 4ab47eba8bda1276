"""Three ways to treat a client that does not read."""

from __future__ import annotations

import trio
from trio import socket

import triobatch

MESSAGE = bytes(10_000)


async def wait_for_it(sender: triobatch.BatchSender) -> None:
    """For what has to arrive: the sender becomes as slow as the client."""
    for _ in range(100):
        await sender.send(MESSAGE)


async def leave_out(sender: triobatch.BatchSender) -> int:
    """For what is soon obsolete: positions, prices, pictures."""
    left_out = 0
    for _ in range(100):
        try:
            sender.send_nowait(MESSAGE)
        except trio.WouldBlock:
            left_out += 1
        await trio.lowlevel.checkpoint()
    return left_out


async def drop(
    sender: triobatch.BatchSender, stream: triobatch.BatchSocketStream
) -> bool:
    """For servers: who has not read for a while, is gone."""
    with trio.move_on_after(0.2) as patience:
        await wait_for_it(sender)
    if patience.cancelled_caught:
        await trio.aclose_forcefully(stream)
    return patience.cancelled_caught


# Try it: nobody reads the other end.
async def main() -> None:
    near, far = socket.socketpair()
    stream = triobatch.BatchSocketStream(near)
    try:
        async with triobatch.open_batch_sender(
            stream, max_buffered=65536
        ) as sender:
            print("some left out:", 0 < await leave_out(sender) < 100)
            print("waiting for room:", sender.statistics().waiting)
            print("dropped:", await drop(sender, stream))
    except trio.ClosedResourceError:
        print("closed, with messages that it never got")
    far.close()


trio.run(main)
