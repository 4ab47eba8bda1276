"""What to do with datagrams that were refused."""

from __future__ import annotations

import trio

import triobatch


async def main() -> None:
    async with await triobatch.open_udp_socket(
        local_address=("127.0.0.1", 0)
    ) as sock:
        batch = triobatch.Datagrams(
            [
                (b"small enough", sock.local_address),
                (bytes(70_000), sock.local_address),
                (b"small enough, too", sock.local_address),
            ]
        )
        try:
            await sock.send_batch(batch)
        except triobatch.DatagramErrorGroup as group:
            for error in group.exceptions:
                print(f"number {error.index}: {error.strerror}")
            print(f"{group.sent} sent, {len(batch)} left")


trio.run(main)
