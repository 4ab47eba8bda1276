"""What net.Buffers and WriteBatch are in Go."""

from __future__ import annotations

import trio
from trio import socket

import triobatch


async def write(stream: triobatch.BatchSocketStream) -> None:
    buffers = triobatch.Buffers([b"header;", b"body;", b"trailer"])
    with trio.move_on_after(5):
        written = await buffers.write_to(stream)
        print("written:", written, "left:", buffers.nbytes)


async def echo(sock: triobatch.DatagramSocket) -> None:
    while True:
        messages = await sock.receive_batch(64)
        await sock.send_batch(messages, errors="ignore")


async def main() -> None:
    near, far = socket.socketpair()
    async with triobatch.BatchSocketStream(near) as stream:
        await write(stream)
    far.close()
    server = await triobatch.open_udp_socket(local_address=("127.0.0.1", 0))
    client = await triobatch.open_udp_socket(
        remote_address=server.local_address
    )
    async with server, client, trio.open_nursery() as nursery:
        nursery.start_soon(echo, server)
        await client.send_many([b"one", b"two"])
        print((await client.receive())[0], (await client.receive())[0])
        nursery.cancel_scope.cancel()


trio.run(main)
