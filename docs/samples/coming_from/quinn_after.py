"""What a Transmit and a RecvMeta of quinn-udp are."""
# Only on Linux.

from __future__ import annotations

import trio

import triobatch

ECT_0 = 0b10


async def transmit(
    sock: triobatch.DatagramSocket,
    contents: bytes,
    destination: triobatch.Address,
) -> None:
    await sock.send_segments(
        contents,
        1200,  # segment_size
        destination,
        metadata=triobatch.Metadata(
            tos=ECT_0,  # ecn
            local_address="127.0.0.1",  # src_ip
        ),
    )


async def main() -> None:
    near = await triobatch.open_udp_socket(local_address=("127.0.0.1", 0))
    far = await triobatch.open_udp_socket(local_address=("127.0.0.1", 0))
    async with near, far:
        await transmit(near, bytes(3000), far.local_address)
        sizes: list[int] = []
        async with far.receive_runs() as runs:
            for run in runs:
                # run.segment_size is the stride, run.address the addr.
                sizes += [len(datagram) for datagram in run]
        print("datagrams of", sizes)
        await transmit(near, bytes(1000), far.local_address)
        for message in await far.receive_messages():
            metadata = message.metadata
            print("ecn", metadata.ecn, "to", metadata.local_address)


trio.run(main)
