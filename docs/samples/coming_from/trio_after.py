"""triobatch: a header and frames, and a UDP echo."""

from __future__ import annotations

import trio
from trio import socket

import triobatch

FRAMES = [b"frame %d;" % number for number in range(3)]


async def send_reply(stream: triobatch.BatchSocketStream) -> None:
    await stream.send_buffers([b"header;", *FRAMES])


async def echo(sock: triobatch.DatagramSocket) -> None:
    async for batch in sock.batches():
        await sock.send_batch(batch, errors="ignore")


async def main() -> None:
    near, far = socket.socketpair()
    async with triobatch.BatchSocketStream(near) as stream:
        await send_reply(stream)
    print(await far.recv(1000))
    far.close()
    server = await triobatch.open_udp_socket(local_address=("127.0.0.1", 0))
    client = await triobatch.open_udp_socket(
        remote_address=server.local_address
    )
    async with server, client, trio.open_nursery() as nursery:
        nursery.start_soon(echo, server)
        await client.send(b"hello")
        print((await client.receive())[0])
        nursery.cancel_scope.cancel()


trio.run(main)
