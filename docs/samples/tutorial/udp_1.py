"""A UDP server, step 1: echo whatever has come, a batch at a time."""

from __future__ import annotations

import sys

import trio

import triobatch


async def echo(sock: triobatch.DatagramSocket) -> None:
    async for batch in sock.batches():
        await sock.send_batch(batch, errors="ignore")


# Try it: with a port it serves for ever, without one it talks to itself.
async def main() -> None:
    port = int(sys.argv[1]) if sys.argv[1:] else 0
    local = ("127.0.0.1", port)
    async with await triobatch.open_udp_socket(local_address=local) as sock:
        if port:
            await echo(sock)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(echo, sock)
            client = await triobatch.open_udp_socket(
                remote_address=sock.local_address
            )
            async with client:
                await client.send_many([b"one", b"two", b"three"])
                for _ in range(3):
                    payload, _ = await client.receive()
                    print("echoed:", payload)
            nursery.cancel_scope.cancel()


trio.run(main)
