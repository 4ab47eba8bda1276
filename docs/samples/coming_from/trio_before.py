"""Plain Trio: a header and frames, and a UDP echo."""

from __future__ import annotations

import trio
from trio import socket

FRAMES = [b"frame %d;" % number for number in range(3)]


async def send_reply(stream: trio.SocketStream) -> None:
    await stream.send_all(b"header;")
    for frame in FRAMES:
        await stream.send_all(frame)


async def echo(sock: trio.socket.SocketType) -> None:
    while True:
        payload, address = await sock.recvfrom(65536)
        try:
            await sock.sendto(payload, address)
        except OSError:
            pass


async def main() -> None:
    near, far = socket.socketpair()
    async with trio.SocketStream(near) as stream:
        await send_reply(stream)
    print(await far.recv(1000))
    far.close()
    with (
        socket.socket(type=socket.SOCK_DGRAM) as server,
        socket.socket(type=socket.SOCK_DGRAM) as client,
    ):
        await server.bind(("127.0.0.1", 0))
        await client.connect(server.getsockname())
        async with trio.open_nursery() as nursery:
            nursery.start_soon(echo, server)
            await client.send(b"hello")
            print(await client.recv(1000))
            nursery.cancel_scope.cancel()


trio.run(main)
