"""What the IP header of a datagram says: ECN, TTL, the address asked."""
# Only on Linux.

from __future__ import annotations

import trio

import triobatch

ECT_0 = 0b10  # "I understand ECN", RFC 3168
EF = 46 << 2  # expedited forwarding, RFC 3246


async def answer(sock: triobatch.DatagramSocket) -> None:
    """Answer from the address that was asked, and with the same marks."""
    while True:
        messages = await sock.receive_messages()
        await sock.send_batch(
            [
                (
                    message.payload,
                    message.address,
                    message.metadata.for_reply(),
                )
                for message in messages
                if not message.truncated
            ],
            errors="ignore",
        )


async def main() -> None:
    # On all addresses of this host: 127.0.0.1 and 127.0.0.2 are among them.
    server = await triobatch.open_udp_socket(local_address=(None, 0))
    port = server.socket.getsockname()[1]
    client = await triobatch.open_udp_socket(local_address=("127.0.0.1", 0))
    async with server, client, trio.open_nursery() as nursery:
        marks = triobatch.Metadata(tos=EF | ECT_0, ttl=5)
        await client.send(b"hello", ("127.0.0.2", port), metadata=marks)
        [message] = await server.receive_messages()
        print(message.payload, "ecn", message.metadata.ecn)
        nursery.start_soon(answer, server)
        await client.send(b"hello", ("127.0.0.2", port), metadata=marks)
        payload, address = await client.receive()
        assert isinstance(address, tuple)
        print(payload, "from", address[0])
        nursery.cancel_scope.cancel()


trio.run(main)
