"""What a datagram socket tells about itself."""

import socket

from helpers import address_of


async def test_a_kernel_drop_is_counted(make_socket):
    receiver, sender = await make_socket(), await make_socket()
    receiver.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4608)
    for _ in range(20):
        await sender.send(bytes(1000), address_of(receiver))
    got = len(await receiver.receive_batch())
    assert receiver.statistics().kernel_drops == 20 - got > 0
