"""A UDP server, step 5: what was lost, and where."""
# Only on Linux.

from __future__ import annotations

import trio

import triobatch


async def main() -> None:
    sock = await triobatch.open_udp_socket(
        local_address=("127.0.0.1", 0), receive_buffer_size=65536
    )
    client = await triobatch.open_udp_socket(remote_address=sock.local_address)
    async with sock, client:
        # Far more than the buffer holds, and nobody reads meanwhile.
        await client.send_many([bytes(1000)] * 5000)
        received = 0
        with trio.move_on_after(0.2):
            async for batch in sock.batches():
                received += len(batch)
        counts = sock.statistics()
        print("sent:", client.statistics().datagrams_sent)
        print("received all:", received == 5000)
        if counts.kernel_drops is not None:
            print("the kernel says that it dropped:", counts.kernel_drops > 0)
        # What cannot be sent at all is told at once, the rest goes out.
        batch = [(b"fine", client.local_address), (b"wrong", ("::1", 9))]
        try:
            await sock.send_batch(batch)
        except triobatch.DatagramErrorGroup as group:
            print(group.sent, "of", group.offered, "sent")
            for error in group.exceptions:
                print(f"number {error.index} refused: {error.strerror}")


trio.run(main)
