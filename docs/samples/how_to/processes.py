"""Two workers on one port: the kernel spreads the peers over them."""
# Only on Linux.

from __future__ import annotations

import trio

import triobatch

heard_by = {"first": 0, "second": 0}


async def work(name: str, sock: triobatch.DatagramSocket) -> None:
    async for batch in sock.batches():
        heard_by[name] += len(batch)
        await sock.send_batch(batch, errors="ignore")


# In one process, to be tried; in yours, each of the two is a process.
async def main() -> None:
    first = await triobatch.open_udp_socket(
        local_address=("127.0.0.1", 0), reuse_port=True
    )
    second = await triobatch.open_udp_socket(
        local_address=first.socket.getsockname(), reuse_port=True
    )
    async with first, second, trio.open_nursery() as nursery:
        nursery.start_soon(work, "first", first)
        nursery.start_soon(work, "second", second)
        for _ in range(64):  # peers
            peer = await triobatch.open_udp_socket(
                remote_address=first.local_address
            )
            async with peer:
                await peer.send(b"hello")
                await peer.receive()
        print("all were answered:", sum(heard_by.values()) == 64)
        print("by both:", all(heard_by.values()))
        nursery.cancel_scope.cancel()


trio.run(main)
