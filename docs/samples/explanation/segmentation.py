"""Send 64 datagrams, and ask how the kernel got them."""

from __future__ import annotations

import trio

import triobatch


async def main() -> None:
    here = ("127.0.0.1", 0)
    async with (
        await triobatch.open_udp_socket(local_address=here) as receiver,
        await triobatch.open_udp_socket(
            remote_address=receiver.local_address
        ) as sender,
    ):
        await sender.send_many([bytes(1200)] * 64)

        received = 0
        while received < 64:
            received += len(await receiver.receive_batch(64))
        print(received, "datagrams received")

        counts = sender.statistics()
        if triobatch.capabilities().gso_segments >= 54:
            # 64 times 1200 bytes are more than one message may have.
            assert counts.gso_runs == 2
        else:
            assert counts.gso_runs == 0


trio.run(main)
