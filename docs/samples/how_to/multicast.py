"""One datagram to a group, heard by all who have joined it."""
# Only on Linux.

from __future__ import annotations

import trio

import triobatch

GROUP = "239.255.12.34"  # for use within a site, RFC 2365
INTERFACE = "lo"


async def open_member(port: int) -> triobatch.DatagramSocket:
    sock = await triobatch.open_udp_socket(
        local_address=(GROUP, port), reuse_port=True
    )
    sock.join_group(GROUP, interface=INTERFACE)
    return sock


async def main() -> None:
    sender = await triobatch.open_udp_socket(local_address=("127.0.0.1", 0))
    first = await open_member(0)
    port = first.socket.getsockname()[1]
    second = await open_member(port)
    async with sender, first, second:
        await sender.send_many(
            [b"one", b"two"],
            (GROUP, port),
            metadata=triobatch.Metadata(local_address="127.0.0.1", ttl=1),
        )
        for member in [first, second]:
            heard: list[bytes] = []
            with trio.move_on_after(5):
                while len(heard) < 2:
                    batch = await member.receive_batch()
                    heard += [payload for payload, _ in batch]
            print(heard)


trio.run(main)
