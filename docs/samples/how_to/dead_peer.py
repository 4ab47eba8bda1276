"""Notice a peer that has died without a word: a cable, a host, a NAT."""
# Only on Linux.

from __future__ import annotations

import socket

import trio

import triobatch


def notice_death(stream: triobatch.BatchSocketStream, seconds: int) -> None:
    """Break the connection when the peer's kernel does not answer so long.

    Whether something is being sent (TCP_USER_TIMEOUT) or not (keepalive).
    """
    for level, option, value in (
        (socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, 1000 * seconds),
        (socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, max(1, seconds // 2)),
        (socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, max(1, seconds // 4)),
        (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1),
    ):
        stream.setsockopt(level, option, value)


# Try it: that it is set; a cable to pull out is not at hand.
async def main() -> None:
    listener, *_ = await triobatch.open_tcp_listeners(0, host="127.0.0.1")
    async with listener:
        address = listener.socket.getsockname()
        async with await triobatch.open_tcp_stream(*address) as stream:
            notice_death(stream, 60)
            milliseconds = stream.getsockopt(
                socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT
            )
            print("given up after", milliseconds // 1000, "seconds")


trio.run(main)
